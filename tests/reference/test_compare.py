"""The comparison itself: a right lake passes, and any change to it is found."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import duckdb

import fake_lake
import tiny
from compare import compare_lake
from derive import CONSENTS, IDENTITIES, PAIRINGS, TABLES, count, derive
from load import load
from readers import disagreements


class Comparison(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.lake = self.folder / "lake"
        self.database = duckdb.connect()
        self.addCleanup(self.database.close)

    def fill(self, seed: int, consent: str = "any", pairing: str = "timestamp") -> None:
        """Derives the tables of a tiny data set."""
        data = self.folder / f"data-{seed}"
        if not data.exists():
            tiny.write(data, seed, files=6)
        load(self.database, [data])
        derive(self.database, consent, pairing)

    def differences(self, identity: str) -> dict[str, list[str]]:
        return compare_lake(self.database, self.lake, identity).differences

    def rewrite(self, path: Path, select: str) -> None:
        """Replaces an object by a select over its rows."""
        rows = select.replace("OBJECT", f"read_parquet('{path}', hive_partitioning=false)")
        fake_lake.copy(self.database, rows, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def filled(self, table: str) -> Path:
        """An object of a table that has rows."""
        folder, *_ = TABLES[table]
        for path in sorted((self.lake / folder).rglob("*.parquet")):
            if count(self.database, f"read_parquet('{path}')") > 0:
                return path
        raise AssertionError(f"{table} has no rows")

    def test_a_right_lake_passes_under_every_policy(self) -> None:
        for seed in range(3):
            for consent in CONSENTS:
                for pairing in PAIRINGS:
                    self.fill(seed, consent, pairing)
                    for identity in IDENTITIES:
                        self.lake = self.folder / f"{seed}-{consent}-{pairing}-{identity}"
                        fake_lake.write(self.database, self.lake, identity)
                        self.assertEqual(self.differences(identity), {})

    def test_an_empty_lake_is_right_for_no_data_only(self) -> None:
        self.fill(1)
        self.assertEqual(set(self.differences("clear")), set(TABLES))
        load(self.database, [])
        derive(self.database, "any", "timestamp")
        self.assertEqual(self.differences("clear"), {})

    def test_a_row_lost_doubled_or_changed_is_found_in_every_table(self) -> None:
        self.fill(1)
        for table in TABLES:
            column = "phone" if table.startswith("customer") else "distancefromobject"
            column = "x" if table.startswith("accelerometer") else column
            changed = f"cast(coalesce(try_cast({column} as double), 0) + 1 as KIND)"
            for mutation in (
                "select * from OBJECT offset 1",
                "select * from OBJECT union all (select * from OBJECT limit 1)",
                f"select * replace (case when row_number() over () = 1 then {changed}"
                f" else {column} end::KIND as {column}) from OBJECT",
                f"select * replace (case when row_number() over (order by {column} nulls last) > 1"
                f" then {column} end as {column}) from OBJECT",
            ):
                kind = {"x": "double", "phone": "varchar"}.get(column, "integer")
                fake_lake.write(self.database, self.lake, "clear")
                self.rewrite(self.filled(table), mutation.replace("KIND", kind))
                self.assertEqual(set(self.differences("clear")), {table}, mutation)

    def test_a_reading_in_the_wrong_partition_is_found(self) -> None:
        self.fill(1)
        fake_lake.write(self.database, self.lake, "clear")
        path = self.filled("accelerometer_trusted")
        other = path.parent.parent / "reading_date=2001-01-01" / path.name
        other.parent.mkdir()
        path.rename(other)
        self.assertEqual(set(self.differences("clear")), {"accelerometer_trusted"})

    def test_a_column_of_another_type_is_found(self) -> None:
        self.fill(1)
        fake_lake.write(self.database, self.lake, "clear")
        folder, *_ = TABLES["step_trainer_trusted"]
        for path in (self.lake / folder).rglob("*.parquet"):
            self.rewrite(
                path,
                "select * replace (distancefromobject::bigint as distancefromobject) from OBJECT",
            )
        self.assertIn("step_trainer_trusted", self.differences("clear"))

    def test_identities_must_be_as_the_policy_says(self) -> None:
        self.fill(1)
        for written in IDENTITIES:
            fake_lake.write(self.database, self.lake, written)
            for asked in IDENTITIES:
                found = set(self.differences(asked))
                expected = set() if asked == written else {"machine_learning_curated"}
                self.assertEqual(found, expected, f"{written} taken for {asked}")

    def test_pseudonyms_that_merge_split_or_swap_people_are_found(self) -> None:
        self.fill(1)
        swap = "(select min(pseudonym), max(pseudonym) from pseudonym where clear like '%@%')"
        low, high = self.swap_pair(swap)
        for mutation in (
            f"""select * replace ('{low}' as "user") from OBJECT""",
            """select * replace (sha256("user" || row_number() over ()) as "user") from OBJECT""",
            """select * replace (sha256(serialnumber || x) as serialnumber) from OBJECT""",
            f"""select * replace (case when row_number() over () = 1 then
                case when "user" = '{low}' then '{high}' else '{low}' end
                else "user" end as "user") from OBJECT""",
        ):
            fake_lake.write(self.database, self.lake, "pseudonym")
            self.rewrite(self.filled("machine_learning_curated"), mutation)
            self.assertEqual(
                set(self.differences("pseudonym")), {"machine_learning_curated"}, mutation
            )

    def swap_pair(self, select: str) -> tuple[str, str]:
        """Two pseudonyms of people."""
        fake_lake.write(self.database, self.lake, "pseudonym")
        low, high = self.database.execute(select).fetchall()[0]
        self.assertNotEqual(low, high)
        return low, high

    def test_all_readers_agree(self) -> None:
        self.fill(1)
        fake_lake.write(self.database, self.lake, "pseudonym")
        for table in TABLES:
            rows, found = disagreements(self.lake, table)
            self.assertEqual(found, [], table)
            self.assertGreater(rows, 0, table)


if __name__ == "__main__":
    unittest.main()
