"""Data of a scale: generated in the real shape, or copies of the real data with other people."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

STREAMS = ("customer", "accelerometer", "step_trainer")
DAY_MS = 86_400_000

# So many people walk, on one day, that they give the readings of the real data: 81,273 and 28,680.
PEOPLE_PER_SCALE = 1_360
DAYS = 1
SEED = 1

# Copies of one day start so far apart: a prime, so that two people share a time now and then, as
# in the real data, and not all of them always.
SHIFT_MS = 137
TIMES = (
    "registrationDate",
    "lastUpdateDate",
    "shareWithResearchAsOfDate",
    "shareWithPublicAsOfDate",
    "shareWithFriendsAsOfDate",
    "timestamp",
    "sensorReadingTime",
)
PEOPLE = ("email", "user", "serialNumber")


@dataclass(frozen=True)
class Data:
    """A data folder and what is in it."""

    folder: str
    scale: int
    source: str
    files: int
    bytes: int
    records: dict[str, int]

    @property
    def rows(self) -> int:
        """Records of the three feeds."""
        return sum(self.records.values())


@dataclass(frozen=True)
class Copies:
    """How real data is copied, if there is any."""

    real: Path | None
    per_day: int
    # All copies of a file in one file, instead of a file each.
    merged: bool

    @property
    def name(self) -> str:
        """In a few words."""
        return f"{self.per_day} a day" + (", merged" if self.merged else "")


def make(stedi: Path, work: Path, scale: int, copies: Copies) -> Data:
    """Data of a scale; what an earlier run has made is used again."""
    kind = f"copies {copies.name}" if copies.real else "generated"
    name = f"{kind} x{scale}".replace(",", "").replace(" ", "-")
    folder = work / "data" / name
    described = folder.with_suffix(".json")
    if described.exists():
        return Data(**json.loads(described.read_text()))
    if folder.exists():
        raise SystemExit(f"{folder} is half made: remove it")
    if copies.real:
        source = f"copies of the real data: {scale}, {copies.name}"
        copy(copies.real, folder, scale, copies)
    else:
        people = PEOPLE_PER_SCALE * scale
        options = ["--customers", str(people), "--days", str(DAYS), "--seed", str(SEED)]
        source = f"stedi generate {' '.join(options)}"
        command = [stedi, "generate", "--out", folder, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    data = describe(folder, scale, source)
    described.write_text(json.dumps(asdict(data)))
    return data


def describe(folder: Path, scale: int, source: str) -> Data:
    """Counts files, bytes and records."""
    files = bytes_ = 0
    records = dict.fromkeys(STREAMS, 0)
    for stream in STREAMS:
        for path in (folder / "landing" / stream).rglob("*.json"):
            content = path.read_bytes()
            files += 1
            bytes_ += len(content)
            records[stream] += content.count(b"\n")
    return Data(str(folder), scale, source, files, bytes_, records)


# --- copies of the real data ---------------------------------------------------------------------


def copy(real: Path, folder: Path, count: int, copies: Copies) -> None:
    """Writes copies of a data folder: the first as it is, the others of other people and times."""
    for stream in STREAMS:
        for path, place in feed_files(real, stream):
            records = list(records_of(path.read_text(encoding="utf-8")))
            for number in range(count):
                of_copy = "" if copies.merged else f"copy-{number:03}"
                target = folder / "landing" / stream / of_copy / place
                target.parent.mkdir(parents=True, exist_ok=True)
                lines = (json.dumps(renamed(r, number, copies.per_day), **SPELT) for r in records)
                with target.open("a", encoding="utf-8") as file:
                    file.writelines(line + "\n" for line in lines)


SPELT = {"ensure_ascii": False, "separators": (",", ":")}


def feed_files(data: Path, stream: str) -> list[tuple[Path, Path]]:
    """Files of a feed, and their places in it."""
    for folder in (data / "landing" / stream, data / stream / "landing", data / stream):
        if folder.is_dir():
            paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
            return [(path, path.relative_to(folder)) for path in paths]
    raise SystemExit(f"{data} has no feed {stream}")


def records_of(text: str) -> Iterator[dict[str, object]]:
    """Records of a file, one a line or one right after the other."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        record, end = decoder.raw_decode(text, at)
        yield record
        at = text.find("{", end)


def renamed(record: dict[str, object], number: int, per_day: int) -> dict[str, object]:
    """The record of another person, on another day or a little later."""
    if number == 0:
        return record
    day, place = divmod(number, per_day)
    shift = day * DAY_MS + place * SHIFT_MS
    changed = dict(record)
    for name in TIMES:
        if isinstance(value := changed.get(name), int):
            changed[name] = value + shift
    for name in PEOPLE:
        if isinstance(value := changed.get(name), str):
            changed[name] = f"c{number}.{value}"
    return changed
