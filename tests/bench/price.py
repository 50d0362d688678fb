"""Runs `price` (tests/simulator/src/bin), which counts what changes cost in lakes in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build() -> Path:
    """The binary."""
    command = ["cargo", "build", "--release", "--locked", "-p", "simulator", "--bin", "price"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "price"


def make_lake(price: Path, lake: Path, objects: int, customers: int, parts: int = 0) -> int:
    """Saves a lake at rest; answers its parts: as many as suit it, unless they are given."""
    command = [price, "build", lake, str(objects), str(customers), str(parts)]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(said.stdout)


def change(
    price: Path,
    lake: Path,
    objects: int,
    customers: int,
    name: str,
    count: int,
    *,
    waits: bool = True,
) -> list[str]:
    """The command that makes a change so many times, each of somebody else.

    Waits are counted by a clock, which takes instructions.
    """
    how = "waits" if waits else "change"
    return [str(price), how, str(lake), str(objects), str(customers), name, str(count)]


def cost(command: list[str]) -> dict:
    """What such a change costs."""
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(said.stdout)
