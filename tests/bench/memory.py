"""Measures what one landing object takes of memory, small or large.

    STEDI=target/release/stedi python tests/bench/memory.py [--sizes 10,100,2100] [--cores 1,2]

People in no order, their readings in no order of time, over many days: so that of what is derived
every day is open at once. Of every size there is a lake of its own, with pairing `customer`: by
time alone, so many people would be paired with each other. Results go to RESULTS-MEMORY.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import commit, machine, numbers
from data import DAY_MS
from measure import CommandFailed, Taken, adopt_orphans, measure

MEGABYTE = 1_000_000
PEOPLE = 10_000
DAYS = 100
FIRST_MS = 1_687_046_400_000
SEED = 1
BLOCK = 10_000
SECONDS_MAX = 900

ACCELEROMETER, STEP_TRAINER = "accelerometer", "step_trainer"
# By name, the share that an object of each feed has; without one it is as good as empty.
SHAPES = {
    "accelerometer readings": {ACCELEROMETER: 1.0, STEP_TRAINER: 0.0},
    "step trainer readings": {ACCELEROMETER: 0.0, STEP_TRAINER: 1.0},
    "half of it of each": {ACCELEROMETER: 0.5, STEP_TRAINER: 0.5},
}
# Of a feed that is not measured.
LEAST_BYTES = MEGABYTE // 10


def customers() -> Iterator[str]:
    """A record of each person; every other one consents."""
    consent = f',"shareWithResearchAsOfDate":{FIRST_MS - DAY_MS}'
    for person in range(PEOPLE):
        yield (
            f'{{"customerName":"Person {person}","email":"person.{person}@test.com",'
            f'"birthDay":"1970-01-01","serialNumber":"{person:032x}",'
            f'"registrationDate":{FIRST_MS - DAY_MS}{consent if person % 2 else ""}}}\n'
        )


def readings(stream: str) -> Iterator[str]:
    """Blocks of readings, without end."""
    draw = random.Random(SEED)
    while True:
        people = draw.choices(range(PEOPLE), k=BLOCK)
        # To the second, so that now and then a person's readings of both sensors are of one time.
        times = draw.choices(range(FIRST_MS, FIRST_MS + DAYS * DAY_MS, 1_000), k=BLOCK)
        drawn = zip(people, times, strict=True)
        if stream == ACCELEROMETER:
            lines = (
                f'{{"user":"person.{person}@test.com","timestamp":{time},'
                f'"x":{axis(time + 1)},"y":{axis(time + 2)},"z":{axis(time + 3)}}}\n'
                for person, time in drawn
            )
        else:
            lines = (
                f'{{"sensorReadingTime":{time},"serialNumber":"{person:032x}",'
                f'"distanceFromObject":{time // 1_000 % 300}}}\n'
                for person, time in drawn
            )
        yield "".join(lines)


def axis(number: int) -> float:
    """What a sensor of three decimals says."""
    return (number * 7_919 % 4_001 - 2_000) / 1_000


def write(data: Path, shares: dict[str, float], size: int) -> int:
    """Writes the three feeds, an object each; answers the bytes of those measured."""
    landing(data, "customer").write_text("".join(customers()))
    written = 0
    for stream, share in shares.items():
        path = landing(data, stream)
        wanted = max(LEAST_BYTES, int(size * share))
        with path.open("w") as file:
            for block in readings(stream):
                if file.tell() >= wanted:
                    break
                file.write(block)
        written += path.stat().st_size if share else 0
    return written


def landing(data: Path, stream: str) -> Path:
    """The one object of a feed."""
    path = data / "landing" / stream / "a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def run(stedi: Path, work: Path, data: Path, cores: int) -> Taken:
    """From landing to rest, in a new lake."""
    lake = work / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    command = [stedi, "run", "--data", data, "--lake", lake, "--pairing", "customer"]
    return measure([str(part) for part in command], cores, {}, work / "log", SECONDS_MAX)


def row(name: str, cores: int, size: int, taken: list[Taken]) -> str:
    """A line of the table."""
    peaks = [one.peak_bytes / MEGABYTE for one in taken]
    seconds = statistics.median(one.seconds for one in taken)
    return (
        f"| {name} | {cores} | {size / MEGABYTE:,.0f} | **{statistics.median(peaks):.0f}**"
        f" ({min(peaks):.0f}–{max(peaks):.0f}) | {seconds:.1f} |"
    )


def rows(options: argparse.Namespace, stedi: Path, work: Path) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    for name, shares in SHAPES.items():
        for size in options.sizes:
            data = work / "data"
            written = write(data, shares, size * MEGABYTE)
            taken: dict[int, list[Taken]] = {cores: [] for cores in options.cores}
            for _ in range(options.runs):
                for cores, of_cores in taken.items():
                    of_cores.append(run(stedi, work, data, cores))
            for cores, of_cores in taken.items():
                line = row(name, cores, written, of_cores)
                print(line, flush=True)
                yield line
            shutil.rmtree(data)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=numbers, default=[10, 100, 2_100], help="MB (10,100,2100)")
    parser.add_argument("--cores", type=numbers, default=[1, 2], help="how many to pin to (1,2)")
    parser.add_argument("--runs", type=int, default=3, help="of each (3)")
    parser.add_argument("--work", type=Path, help="folder for data and lakes: thrice the size")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RESULTS-MEMORY.md"))
    return parser.parse_args()


def main() -> int:
    """Measures all shapes and sizes."""
    options = parse()
    stedi = Path(os.environ.get("STEDI", "target/release/stedi")).resolve()
    if not stedi.is_file():
        print(f"{stedi} is not there; build it: cargo build --release -p stedi", file=sys.stderr)
        return 2
    adopt_orphans()
    where, now = machine(), datetime.datetime.now(datetime.UTC)
    try:
        if options.work:
            options.work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            lines = list(rows(options, stedi, Path(work)))
    except CommandFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    document = f"""# What one landing object takes of memory

{now.date()}, {where["cpu"]}, {where["kernel"]}, in a clone at {commit()}: the operating system's
peak of `stedi run`, median, least and most of {options.runs} runs; written by
`tests/bench/memory.py`, which says what is in it. {PEOPLE:,} people in no order, their readings in
no order of time over {DAYS} days.

| one landing object of | cores | MB | peak MB | seconds |
|---|---:|---:|---:|---:|
{chr(10).join(lines)}
"""
    options.out.write_text(document, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
