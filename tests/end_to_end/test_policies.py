"""Every table under every policy, for generated, tiny and real data."""

from __future__ import annotations

import json
import os
import unittest
from pathlib import Path

from command import (
    IDENTITIES,
    LONG,
    POLICIES,
    TABLES,
    LakeTest,
    Policy,
    disagreements,
    stedi,
    tiny,
)

SEEDS = range(1, 30 if LONG else 3)
TINY_SEEDS = range(300 if LONG else 6)


class Policies(LakeTest):
    def check_all(self, data: Path, policies: list[Policy]) -> None:
        for policy in policies:
            with self.subTest(data=data.name, policy=policy):
                lake = self.folder / "-".join((data.name, *policy.arguments()[1::2]))
                printed = self.run_lake(lake, data, policy)
                self.check_rows(printed, self.check(lake, policy, [data]))

    def test_generated_data(self) -> None:
        for seed in SEEDS:
            self.check_all(self.generate(f"seed-{seed}", 60 * seed, 1 + seed, seed), POLICIES)

    def test_generated_data_with_the_fulfilment_bug(self) -> None:
        data = self.generate("shared", 100, 2, 5, "--shared-serials", "3")
        self.check_all(data, POLICIES)

    def test_tiny_and_dirty_data(self) -> None:
        for seed in TINY_SEEDS:
            data = self.folder / f"tiny-{seed}"
            tiny.write(data, seed)
            self.check_all(data, [POLICIES[seed % 4], POLICIES[(seed + 1) % 4]])

    def test_every_identity(self) -> None:
        data = self.generate("identity", 50, 2, 9)
        self.check_all(data, [Policy("any", "timestamp", identity) for identity in IDENTITIES])

    def test_real_data(self) -> None:
        if not (named := os.environ.get("STEDI_DATA")):
            self.skipTest("STEDI_DATA is not set: nothing was run on real data")
        for name in ("stedi", "dirty", "repaired"):
            self.check_all(Path(named) / name, POLICIES)

    def test_readers_agree(self) -> None:
        data, lake = self.generate("read", 50, 3, 4), self.folder / "lake"
        self.run_lake(lake, data, Policy())
        for table in TABLES:
            rows, found = disagreements(lake, table)
            self.assertEqual(found, [], table)
            self.assertGreater(rows, 0, table)


class OwnData(LakeTest):
    def test_without_data_a_small_set_is_made(self) -> None:
        lake = self.folder / "lake"
        done = stedi("run", "--lake", lake)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("seed", done.stdout + done.stderr)
        rows = self.check(lake, Policy(), [lake])
        self.assertTrue(all(rows.values()), rows)

    def test_the_same_seed_gives_the_same_files(self) -> None:
        def content(data: Path) -> dict[str, bytes]:
            paths = (path for path in data.rglob("*") if path.is_file())
            return {path.relative_to(data).as_posix(): path.read_bytes() for path in paths}

        one, two = (content(self.generate(name, 20, 2, 3)) for name in ("one", "two"))
        self.assertEqual(one, two)
        self.assertNotEqual(one, content(self.generate("three", 20, 2, 4)))

    def test_status_says_what_run_said(self) -> None:
        data, lake = self.generate("data", 20, 2, 3), self.folder / "lake"
        ran = self.run_lake(lake, data, Policy())
        self.assertEqual(len(ran), 8)
        printed = self.succeed("status", "--lake", lake, "--format", "json")
        tables = json.loads(printed)["tables"]
        self.assertEqual({table["table"]: table for table in tables}, ran)

    def test_catalog_names_all_tables(self) -> None:
        data, lake = self.generate("data", 20, 2, 3), self.folder / "lake"
        self.run_lake(lake, data, Policy())
        for arguments in ((), ("--ddl",)):
            printed = self.succeed("catalog", "--lake", lake, *arguments).lower()
            for table in (
                *TABLES,
                "customer_landing",
                "accelerometer_landing",
                "step_trainer_landing",
            ):
                self.assertIn(table, printed)


if __name__ == "__main__":
    unittest.main()
