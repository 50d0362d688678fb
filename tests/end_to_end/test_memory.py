"""Memory does not grow with a landing object: it is bounded by what may be held of one.

Whole objects would take several times what is allowed here: the test fails if any of the functions,
or of the ways through them, holds one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import unittest
from collections.abc import Callable
from pathlib import Path

from command import LakeTest, Policy, binary

MEGABYTE = 1_000_000
SMALL, LARGE = 10 * MEGABYTE, 60 * MEGABYTE
# Between an object of 10 MB and one six times as large.
GROWTH_MAX_BYTES = 64 << 20
PEAK_MAX_BYTES = 128 << 20

PEOPLE = 400
DAYS = 2
DAY_MS = 86_400_000
FIRST_MS = 1_687_046_400_000
TIMES = 10_000
TIMEOUT_SECONDS = 300

# The peak of the command alone: what it is forked from is small.
WATCHED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""


def write_customers(out: Path, size: int) -> None:
    """A record of each person and, beyond that, newer ones until the file is large enough."""
    path = landing(out, "customer")
    with path.open("w") as file:
        number = 0
        while number < PEOPLE or file.tell() < size:
            person = number % PEOPLE
            record = {
                "customerName": f"Person {person}",
                "email": email(person),
                "birthDay": "1970-01-01",
                "serialNumber": serial(person),
                "registrationDate": FIRST_MS - DAY_MS,
                "lastUpdateDate": FIRST_MS - DAY_MS + number,
            }
            if person % 2:
                record["shareWithResearchAsOfDate"] = FIRST_MS - DAY_MS
            file.write(json.dumps(record) + "\n")
            number += 1


def write_readings(out: Path, stream: str, size: int, line: str, broken: bool = False) -> None:
    """Readings of one person after another, round and round: in no order of time."""
    path = landing(out, stream)
    gap = DAYS * DAY_MS // TIMES
    # The instants of a round, one line for each, with the person left to be filled in.
    rounds = [line.replace("TIME", str(FIRST_MS + number * gap)) for number in range(TIMES)]
    with path.open("w") as file:
        written, number = 0, 0
        while written < size:
            lines = [rounds[(number * 7 + k * 13) % TIMES] for k in range(500)]
            text = "\n".join(lines) + "\n"
            text = text.replace("WHO", email(number % PEOPLE))
            text = text.replace("DEVICE", serial(number % PEOPLE))
            if broken:
                text = text.replace("}\n{", "\n{")
            written += file.write(text)
            number += 1


def write_sessions(out: Path, stream: str, size: int, line: str) -> None:
    """Half a minute of somebody, then of somebody else at any other time."""
    draw = random.Random(size)
    path = landing(out, stream)
    with path.open("w") as file:
        written = 0
        while written < size:
            person = draw.randrange(PEOPLE)
            told = line.replace("WHO", email(person)).replace("DEVICE", serial(person)) + "\n"
            first_ms = FIRST_MS + draw.randrange(DAYS * DAY_MS)
            times = range(first_ms, first_ms + 30_000, 1_000)
            written += file.write("".join(told.replace("TIME", str(time)) for time in times))


def landing(out: Path, stream: str) -> Path:
    path = out / "landing" / stream / "a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def email(person: int) -> str:
    return f"person.{person}@test.com"


def serial(person: int) -> str:
    return f"{person:032x}"


MOTION = '{"user":"WHO","timestamp":TIME,"x":0.25,"y":-1.5,"z":0.125}'
STEP = '{"sensorReadingTime":TIME,"serialNumber":"DEVICE","distanceFromObject":200}'


class Memory(LakeTest):
    """What one landing object takes, by the operating system's account."""

    def peak_bytes(self, lake: Path, data: Path, *more: str) -> int:
        command = [binary(), "run", "--lake", str(lake), "--data", str(data), *more]
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(done.stdout)

    def hold(
        self, name: str, write: Callable[[Path, int], None], *more: str, large: int = LARGE
    ) -> Path:
        """The peak of a large object, against that of a small one."""
        peaks = {}
        for size in (SMALL, large):
            data, lake = self.folder / f"{name}-{size}", self.folder / f"lake-{name}-{size}"
            write(data, size)
            peaks[size] = self.peak_bytes(lake, data, *more)
        print(f"{name}: {peaks[SMALL] >> 20} MiB, {peaks[large] >> 20} MiB", file=sys.stderr)
        self.assertLess(peaks[large] - peaks[SMALL], GROWTH_MAX_BYTES, name)
        self.assertLess(peaks[large], PEAK_MAX_BYTES, name)
        return lake

    def test_accelerometer(self) -> None:
        def write(data: Path, size: int) -> None:
            write_customers(data, 0)
            write_readings(data, "accelerometer", size, MOTION)
            write_readings(data, "step_trainer", MEGABYTE // 100, STEP)

        policy = Policy("any", "customer", "clear")
        lake = self.hold("accelerometer", write, *policy.arguments())
        self.check(lake, policy, [lake])

    def test_step_trainer(self) -> None:
        def write(data: Path, size: int) -> None:
            write_customers(data, 0)
            write_readings(data, "accelerometer", MEGABYTE // 2, MOTION)
            write_readings(data, "step_trainer", size, STEP)

        policy = Policy("any", "customer", "pseudonym")
        lake = self.hold("step_trainer", write, *policy.arguments())
        self.check(lake, policy, [lake])

    def test_both(self) -> None:
        """Also where what is written row group by row group is small, since it repeats."""

        def write(data: Path, size: int) -> None:
            write_customers(data, 0)
            write_sessions(data, "accelerometer", size, MOTION)
            write_sessions(data, "step_trainer", size, STEP)

        policy = Policy("any", "timestamp", "none")
        lake = self.hold("both", write, *policy.arguments())
        self.check(lake, policy, [lake])

    def test_fragments(self) -> None:
        def write(data: Path, size: int) -> None:
            write_customers(data, 0)
            write_readings(data, "accelerometer", size, MOTION, broken=True)

        lake = self.hold("fragments", write, large=LARGE // 2)
        quarantine = lake / "quarantine/accelerometer/landing/accelerometer/a.json.jsonl"
        self.assertGreater(quarantine.stat().st_size, LARGE)
        with quarantine.open() as lines:
            self.assertEqual(json.loads(next(lines))["offset_bytes"], 0)

    def test_customers(self) -> None:
        lake = self.hold("customers", write_customers)
        status = json.loads(self.succeed("status", "--lake", lake, "--format", "json"))
        rows = {table["table"]: table["rows"] for table in status["tables"]}
        self.assertEqual(rows["customer_trusted"], PEOPLE // 2)


if __name__ == "__main__":
    unittest.main()
