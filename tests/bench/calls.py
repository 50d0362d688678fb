"""Counts the calls of every kind of change in lakes of several sizes, for cost.py.

    python tests/bench/calls.py [--price BINARY] [--work DIR] > tests/bench/calls/measured.json

The lakes are in memory (`price`, in tests/simulator/src/bin): the chain as deployed, every change
with no document of the lake in memory, so that a function that is warm makes fewer calls.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUSTOMERS = (1_000, 100_000, 1_000_000)
OBJECTS = 1_000
# What a comparison lists grows with the landing objects: measured here, among the fewest customers.
MORE_OBJECTS = 11_000
CHANGES = (
    "accelerometer",
    "wide accelerometer",
    "step trainer",
    "wide step trainer",
    "overlap",
    "customer",
    "withdrawal",
    "comparison",
    "withdrawn comparison",
    "idle comparison",
    "compaction",
)
COUNT = 8


def build() -> Path:
    """The binary that counts."""
    command = ["cargo", "build", "--release", "--locked", "-p", "simulator", "--bin", "price"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "price"


def lake(
    price: Path, work: Path | None, objects: int, customers: int, changes: tuple[str, ...]
) -> dict[str, object]:
    """What the changes take in a lake of a size."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        file = Path(folder) / "lake"
        size = [str(objects), str(customers)]
        built = subprocess.run(
            [price, "build", file, *size, "0"], check=True, capture_output=True, text=True
        )
        found: dict[str, object] = {"objects": objects, "parts": int(built.stdout)}
        for change in changes:
            command = [price, "change", file, *size, change, str(COUNT)]
            said = subprocess.run(command, check=True, capture_output=True, text=True)
            found[change] = json.loads(said.stdout)
        return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--price", type=Path, help="the binary, instead of building it")
    parser.add_argument("--work", type=Path, help="folder for the lakes; best in memory")
    options = parser.parse_args()
    price = options.price or build()
    lakes = {str(n): lake(price, options.work, OBJECTS, n, CHANGES) for n in CUSTOMERS}
    more = lake(price, options.work, MORE_OBJECTS, CUSTOMERS[0], ("idle comparison",))
    today = datetime.date.today().isoformat()
    source = (
        f"`tests/bench/calls.py`, {today}: the chain as deployed over a store in memory that"
        f" counts, each change with no document of the lake in memory, the mean of {COUNT}"
    )
    print(json.dumps({"source": source, "lakes": lakes, "more_objects": more}, indent=1))


if __name__ == "__main__":
    main()
