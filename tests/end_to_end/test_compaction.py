"""Dates of many objects, compacted: through the catalog and by the folder."""

from __future__ import annotations

import json
import unittest
from pathlib import Path

import duckdb

from command import LakeTest, Policy, stedi

READINGS = {
    "accelerometer_trusted": ("trusted/accelerometer", "timestamp"),
    "step_trainer_trusted": ("trusted/step_trainer", "sensorreadingtime"),
    "machine_learning_curated": ("curated/machine_learning", "sensorreadingtime"),
}
AFTER_ALL = ("--before", "2100-01-01")


class Compaction(LakeTest):
    """What a partition leads to has the rows of the folder, sorted, in fewer objects."""

    def led(self, lake: Path, table: str) -> dict[str, Path]:
        """Where the partitions of the embedded catalog lead, by day."""
        partitions = {}
        for entry in sorted((lake / ".stedi" / "catalog" / table).iterdir()):
            place = entry.read_text() or f"{READINGS[table][0]}/reading_date={entry.name}/"
            partitions[entry.name] = lake / place
        return partitions

    def copies(self, lake: Path) -> list[Path]:
        """The objects of compacted dates."""
        return sorted((lake / "compacted").rglob("*.parquet"))

    def check_led(self, lake: Path) -> int:
        """Compares each date through the catalog with its folder; answers how many are copies."""
        compacted = 0
        for table, (folder, time) in READINGS.items():
            for day, place in self.led(lake, table).items():
                small = lake / folder / f"reading_date={day}"
                rows = [
                    duckdb.execute(
                        f"select * from read_parquet($files, hive_partitioning=false) {order}",
                        {"files": sorted(map(str, where.glob("*.parquet")))},
                    ).fetchall()
                    for where, order in ((place, ""), (small, f'order by "{time}"'))
                ]
                self.assertCountEqual(*rows, (table, day))
                if place != small:
                    compacted += 1
                    times = duckdb.execute(
                        f'select "{time}" from read_parquet($files)',
                        {"files": sorted(map(str, place.glob("*.parquet")))},
                    ).fetchall()
                    self.assertEqual(times, sorted(times), (table, day))
                    self.assertLess(len(list(place.glob("*"))), len(list(small.glob("*"))))
        return compacted

    def test_a_lake_is_compacted_and_a_change_undoes_it(self) -> None:
        data, lake, policy = self.generate("data", 40, 3, 5), self.folder / "lake", Policy()
        self.run_lake(lake, data, policy)
        self.succeed("compact", "--lake", lake, *AFTER_ALL)
        self.assertGreater(self.check_led(lake), 3)
        self.check(lake, policy, [lake])
        self.succeed("verify", "--lake", lake)
        before = self.copies(lake)
        self.succeed("compact", "--lake", lake, *AFTER_ALL)
        self.assertEqual(self.copies(lake), before, "what is compacted is left alone")

        people = duckdb.execute(
            "select lower(trim(email)) from read_parquet($files)",
            {"files": [str(p) for p in (lake / "trusted/customer").glob("*.parquet")]},
        ).fetchall()
        withdrawals = lake / "landing" / "customer" / "withdrawals.json"
        withdrawals.write_text(
            "".join(
                json.dumps({"email": email, "lastUpdateDate": 4_000_000_000_000}) + "\n"
                for (email,) in people[::2]
            )
        )
        self.run_lake(lake, None, policy)
        self.check_led(lake)
        gone = {email for (email,) in people[::2]}
        for copy in self.copies(lake):
            if "accelerometer" in str(copy):
                found = duckdb.execute(
                    'select distinct lower(trim("user")) from read_parquet($file)',
                    {"file": str(copy)},
                ).fetchall()
                self.assertFalse(gone & {email for (email,) in found}, copy)
        self.succeed("verify", "--lake", lake)

    def test_a_copy_that_differs_is_told(self) -> None:
        data, lake = self.generate("data", 20, 2, 6), self.folder / "lake"
        self.run_lake(lake, data, Policy())
        self.succeed("compact", "--lake", lake, *AFTER_ALL)
        self.copies(lake)[0].unlink()
        done = stedi("verify", "--lake", lake)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("compacted/", done.stdout)


if __name__ == "__main__":
    unittest.main()
