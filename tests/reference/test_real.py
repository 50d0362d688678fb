"""The counts of DESIGN, section 4, on the real data, which is not in the repository."""

from __future__ import annotations

import os
import unittest
from pathlib import Path

import duckdb

from derive import TABLES, derive
from load import load

COUNTS = {
    ("any", "timestamp"): (482, 40_981, 482, 14_460, 43_681),
    ("any", "customer"): (482, 40_981, 482, 14_460, 40_981),
    ("as-of", "timestamp"): (482, 32_025, 464, 11_297, 34_253),
    ("as-of", "customer"): (482, 32_025, 464, 11_297, 32_025),
}
LANDED = {"customer": 956, "accelerometer": 81_273, "step_trainer": 28_680}


class Real(unittest.TestCase):
    def test_counts_are_those_of_the_design(self) -> None:
        if not (named := os.environ.get("STEDI_DATA")):
            self.skipTest("STEDI_DATA is not set: nothing was run on real data")
        with duckdb.connect() as database:
            loaded = load(database, [Path(named) / "stedi"])
            if dict(loaded.rows) != LANDED:
                self.skipTest(f"STEDI_DATA holds other data than the design's: {loaded.rows}")
            for (consent, pairing), expected in COUNTS.items():
                rows = derive(database, consent, pairing)
                self.assertEqual(rows, dict(zip(TABLES, expected, strict=True)))


if __name__ == "__main__":
    unittest.main()
