"""Counts the calls of every kind of change in lakes of several sizes, for cost.py.

    python tests/bench/calls.py [--price BINARY] [--work DIR] > tests/bench/calls/measured.json

The lakes are in memory (`price`, in tests/simulator/src/bin): the chain as deployed, every change
with no document of the lake in memory, so that a function that is warm makes fewer calls.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path

import price

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


def lake(
    binary: Path, work: Path | None, objects: int, customers: int, changes: tuple[str, ...]
) -> dict[str, object]:
    """What the changes take in a lake of a size."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        file = Path(folder) / "lake"
        parts = price.make_lake(binary, file, objects, customers)
        found: dict[str, object] = {"objects": objects, "parts": parts}
        for change in changes:
            command = price.change(binary, file, objects, customers, change, COUNT)
            found[change] = price.cost(command)
        return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--price", type=Path, help="the binary, instead of building it")
    parser.add_argument("--work", type=Path, help="folder for the lakes; best in memory")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    binary = options.price or price.build()
    lakes = {str(n): lake(binary, options.work, OBJECTS, n, CHANGES) for n in CUSTOMERS}
    more = lake(binary, options.work, MORE_OBJECTS, CUSTOMERS[0], ("idle comparison",))
    today = datetime.date.today().isoformat()
    source = (
        f"`tests/bench/calls.py`, {today}: the chain as deployed over a store in memory that"
        f" counts, each change with no document of the lake in memory, the mean of {COUNT}"
    )
    print(json.dumps({"source": source, "lakes": lakes, "more_objects": more}, indent=1))


if __name__ == "__main__":
    main()
