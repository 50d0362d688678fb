"""Feeds over tiny domains, in every form a feed comes in: collisions are the rule, not the chance.

A few people, devices and times, so that ties, shared times, shared devices, repeated rows and
changes of mind occur in every data set; and files that are concatenated, cut off, in arrays,
compressed, with keys in other case and values that no column takes.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

NOON = 1_770_000_000_000
MIDNIGHT = 1_770_076_800_000  # 2026-02-03
TIMES = [MIDNIGHT + offset for offset in (-90_000_000, -2, -1, 0, 1, 2, 86_400_000)]
PEOPLE = [
    "ann@example.com",
    "Bo@example.com",
    "cy@example.com",
    "dee@example.com",
    "eve@example.com",
]
DEVICES = ["d1", "d2", "D1", "d 3", "d4"]
STREAMS = ("customer", "accelerometer", "step_trainer")
FORMS = ("lines", "lines", "joined", "commas", "array", "crlf", "cut", "gzip")


def write(folder: Path, seed: int, files: int = 4, rows_max: int = 12) -> None:
    """Writes `folder/landing/<stream>/…` for the three streams."""
    chance = random.Random(seed)
    for stream in STREAMS:
        for number in range(files):
            nested = chance.choice(["", "2026/02/", "a b+c/"])
            path = folder / "landing" / stream / f"{nested}{stream}-{number}.json"
            write_file(chance, stream, path, rows_max)


def write_file(chance: random.Random, stream: str, path: Path, rows_max: int = 12) -> None:
    """Writes one file of a stream."""
    rows = chance.choice([0, 1, 1, rows_max // 2, rows_max])
    record = {"customer": customer, "accelerometer": motion, "step_trainer": step}[stream]
    records = [json.dumps(record(chance), ensure_ascii=chance.random() < 0.5) for _ in range(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(form(records, chance.choice(FORMS), chance))


def form(records: list[str], how: str, chance: random.Random) -> bytes:
    """The records as bytes of a file."""
    if how == "joined":
        content = "".join(records)
    elif how == "commas":
        content = ",\n".join(records)
    elif how == "array":
        content = "[" + ",".join(records) + "]"
    elif how == "crlf":
        content = "\ufeff" + "\r\n".join(records) + "\r\n"
    else:
        content = "".join(record + "\n" for record in records)
    if how == "cut" and records:
        content = content[: -chance.randrange(2, 9)]
    return gzip.compress(content.encode(), mtime=0) if how == "gzip" else content.encode()


def customer(chance: random.Random) -> dict[str, object]:
    """A customer record."""
    at = NOON + chance.randrange(6)
    record: dict[str, object] = {
        "customerName": chance.choice(["Ann", 'Bo "B"', "Cÿ"]),
        "email": spelt(chance),
        "phone": chance.choice(["8015551212", 8015551212, 8015551212.0, None]),
        "birthDay": chance.choice(["1990-01-01", "997-01-01"]),
        "serialNumber": chance.choice([*DEVICES, None]),
        "registrationDate": chance.choice([at, at - 1, None]),
        "lastUpdateDate": chance.choice([at, float(at), str(at), None]),
        "shareWithResearchAsOfDate": chance.choice([*TIMES, None, None, None]),
        "shareWithFriendsAsOfDate": chance.choice([at, None]),
    }
    return dirtied(record, chance)


def motion(chance: random.Random) -> dict[str, object]:
    """An accelerometer reading."""
    record: dict[str, object] = {
        "user": spelt(chance),
        chance.choice(["timestamp", "timeStamp"]): chance.choice(TIMES),
        "x": chance.choice([0.0, 1, -1.0, 0.1, "1.5"]),
        "y": chance.choice([0.0, -0.0, 1e-5]),
        "z": chance.choice([0.0, -1.0, None]),
    }
    return dirtied(record, chance)


def step(chance: random.Random) -> dict[str, object]:
    """A step reading."""
    record: dict[str, object] = {
        "sensorReadingTime": chance.choice(TIMES),
        "serialNumber": chance.choice([*DEVICES, "unsold"]),
        "distanceFromObject": chance.choice([200, 201, 2.02e2, "203", None]),
    }
    return dirtied(record, chance)


def spelt(chance: random.Random) -> str:
    """Somebody's e-mail, spelt one way or another."""
    email = chance.choice(PEOPLE)
    return chance.choice([email, email, email.upper(), f" {email}", f"{email}  "])


def dirtied(record: dict[str, object], chance: random.Random) -> dict[str, object]:
    """The record, without some of its nulls, and one in ten with something wrong or odd."""
    record = {k: v for k, v in record.items() if v is not None or chance.random() < 0.3}
    if chance.random() < 0.1:
        key = chance.choice(list(record))
        record[key] = chance.choice([None, "", 1 << 70, 0.5, "NaN", True, {"a": 1}, -7])
    if chance.random() < 0.1:
        record["firmware"] = chance.choice(["1.2", {"major": 1}, [1, 2]])
    return record
