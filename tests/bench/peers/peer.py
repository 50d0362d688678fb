"""What every peer is asked, and what it answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

# The five tables and their folders, as the lake has them.
TABLES = {
    "customer_trusted": "trusted/customer",
    "accelerometer_trusted": "trusted/accelerometer",
    "customer_curated": "curated/customer",
    "step_trainer_trusted": "trusted/step_trainer",
    "machine_learning_curated": "curated/machine_learning",
}

# The column that dates a reading.
READINGS = {
    "accelerometer_trusted": "timestamp",
    "step_trainer_trusted": "sensorreadingtime",
    "machine_learning_curated": "sensorreadingtime",
}


def arguments(doc: str | None) -> argparse.Namespace:
    """The arguments of a peer."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def say(engine: str, version: str, seconds: float) -> None:
    """Tells the benchmark how long the job took, the start of the engine left out."""
    print(json.dumps({"engine": engine, "version": version, "seconds": seconds}))
