"""Landing files added, replaced and deleted under the lake, between runs without --data."""

from __future__ import annotations

import random
import shutil
import unittest
from pathlib import Path

import duckdb

from command import LONG, STREAMS, LakeTest, Policy, files_of, tiny

SEEDS = range(60 if LONG else 4)
STEPS = 8


class Landing(LakeTest):
    """Customer records of files that are gone stand; readings of files that are gone do not."""

    def change(self, lake: Path, former: Path, chance: random.Random, step: int) -> None:
        """Changes one landing file; what a run has seen of a customer file is kept in `former`."""
        stream = chance.choice(STREAMS)
        names = [name for _, name in files_of(lake, stream)]
        how = chance.choice(("add", "replace", "delete", "delete")) if names else "add"
        name = (
            f"{chance.choice(['', 'more/'])}{step}.json" if how == "add" else chance.choice(names)
        )
        path = lake / "landing" / stream / name
        if stream == "customer" and path.exists():
            kept = former / "landing" / stream / f"{step}" / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
        if how == "delete":
            path.unlink()
        else:
            tiny.write_file(chance, stream, path)

    def test_random_changes(self) -> None:
        for seed in SEEDS:
            policy = Policy(("any", "as-of")[seed % 2], ("timestamp", "customer")[seed // 2 % 2])
            with self.subTest(seed=seed, policy=policy):
                data, lake = self.folder / f"data-{seed}", self.folder / f"lake-{seed}"
                former = self.folder / f"former-{seed}"
                former.mkdir()
                tiny.write(data, seed)
                self.run_lake(lake, data, policy)
                chance = random.Random(seed)
                for step in range(STEPS):
                    self.change(lake, former, chance, step)
                    printed = self.run_lake(lake, None, policy)
                    rows = self.check(lake, policy, [lake], [former])
                    self.check_rows(printed, rows)

    def test_a_withdrawal_outlives_its_file(self) -> None:
        data, lake, policy = self.generate("data", 30, 2, 21), self.folder / "lake", Policy()
        self.run_lake(lake, data, policy)
        consenting = self.check(lake, policy, [lake])["customer_trusted"]
        self.assertGreater(consenting, 1)
        withdrawal = lake / "landing" / "customer" / "withdrawal.json"
        email = self.someone_trusted(lake)
        withdrawal.write_text(
            f'{{"email": "{email}", "lastUpdateDate": 4000000000000}}', encoding="utf-8"
        )
        self.run_lake(lake, None, policy)
        former = self.folder / "former" / "landing" / "customer"
        former.mkdir(parents=True)
        shutil.move(withdrawal, former)
        self.run_lake(lake, None, policy)
        rows = self.check(lake, policy, [lake], [self.folder / "former"])
        self.assertEqual(rows["customer_trusted"], consenting - 1)

    def someone_trusted(self, lake: Path) -> str:
        """E-mail of somebody in customer_trusted."""
        objects = f"{lake}/trusted/customer/*.parquet"
        query = f"select min(email) from read_parquet('{objects}')"
        return duckdb.sql(query).fetchall()[0][0]


if __name__ == "__main__":
    unittest.main()
