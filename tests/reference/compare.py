"""Compares the tables of a lake, row by row, with what the SQL of the house gives on its data.

    compare.py --data DIR [--data DIR2 …] --lake LAKE [--consent …] [--pairing …] [--identity …]

Tables are compared as bags: a row too many or too few is a difference. Exit code 1 on any.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

import pseudonyms
from derive import CONSENTS, IDENTITIES, PAIRINGS, TABLES, WITHOUT_IDENTITY, count, derive
from load import load

SHOWN = 5


@dataclass
class Report:
    """Rows and differences of each table."""

    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    differences: dict[str, list[str]] = field(default_factory=dict)

    def differs(self, table: str, difference: str) -> None:
        """Notes a difference."""
        self.differences.setdefault(table, []).append(difference)

    def __str__(self) -> str:
        lines = []
        for table, (expected, found) in self.rows.items():
            differences = self.differences.get(table, [])
            verdict = "differs" if differences else "equal"
            lines.append(f"{table:<26} {expected:>12,} expected {found:>12,} found  {verdict}")
            lines += [f"    {difference}" for difference in differences]
        return "\n".join(lines)


def read_table(database: duckdb.DuckDBPyConnection, lake: Path, table: str) -> list[str]:
    """Makes `lake_<table>` of the objects as they lie there; answers what is odd in them."""
    folder, columns, time = TABLES[table]
    wanted = columns + (", reading_date DATE" if time else "")
    objects = sorted(str(path) for path in (lake / folder).rglob("*.parquet"))
    database.execute(f"create or replace table lake_{table} ({wanted})")
    if not objects:
        return []
    hive = ", hive_partitioning=true, hive_types={'reading_date': DATE}" if time else ""
    source = f"read_parquet($objects, union_by_name=true{hive})"
    described = database.execute(f"describe select * from {source}", {"objects": objects})
    found = {name: kind for name, kind, *_ in described.fetchall()}
    expected = {
        name: kind for name, kind, *_ in database.execute(f"describe lake_{table}").fetchall()
    }
    if found != expected:
        return [f"columns {found}, expected {expected}"]
    database.execute(
        f"insert into lake_{table} by name select * from {source}", {"objects": objects}
    )
    return misdated(database, table, time) if time else []


def misdated(database: duckdb.DuckDBPyConnection, table: str, time: str) -> list[str]:
    """Readings that lie in another partition than that of their UTC date."""
    rows = database.execute(
        f"select * from lake_{table} where reading_date is distinct from"
        f" make_timestamp({time} * 1000)::date limit {SHOWN}"
    ).fetchall()
    return [f"in the wrong partition: {row}" for row in rows]


def bags_differ(
    database: duckdb.DuckDBPyConnection, expected: str, found: str, shown: int = SHOWN
) -> list[str]:
    """Rows that two selects do not have equally often."""
    differences = []
    for label, left, right in (("missing", expected, found), ("too many", found, expected)):
        database.execute(
            f"create or replace temp table difference as ({left}) except all ({right})"
        )
        if total := count(database, "difference"):
            rows = database.execute(f"select * from difference order by all limit {shown}")
            differences += [f"{label}: {row}" for row in rows.fetchall()]
            if total > shown:
                differences.append(f"{label}: {total - shown:,} more")
    return differences


def column_names(table: str) -> str:
    """The columns of a derived table, as a select list."""
    return ", ".join(column.split()[0] for column in TABLES[table][1].split(", "))


def compare_machine_learning(database: duckdb.DuckDBPyConnection, identity: str) -> list[str]:
    """The last table, with the identities as the policy has them."""
    table = "machine_learning_curated"
    names = column_names(table)
    if identity == "pseudonym":
        return pseudonyms.compare(database, table, f"lake_{table}", bags_differ)
    source = f"({WITHOUT_IDENTITY} {table})" if identity == "none" else table
    return bags_differ(
        database, f"select {names} from {source}", f"select {names} from lake_{table}"
    )


def compare_lake(database: duckdb.DuckDBPyConnection, lake: Path, identity: str) -> Report:
    """Compares all five tables; the derived tables are in the database."""
    report = Report()
    for table in TABLES:
        for oddity in read_table(database, lake, table):
            report.differs(table, oddity)
        report.rows[table] = count(database, table), count(database, f"lake_{table}")
        names = column_names(table)
        if table == "machine_learning_curated":
            differences = compare_machine_learning(database, identity)
        else:
            differences = bags_differ(
                database, f"select {names} from {table}", f"select {names} from lake_{table}"
            )
        for difference in differences:
            report.differs(table, difference)
    return report


def compare(
    data: list[Path],
    lake: Path,
    consent: str,
    pairing: str,
    identity: str,
    former: list[Path] | None = None,
) -> Report:
    """Derives the tables from the data and compares the lake with them."""
    with duckdb.connect() as database:
        load(database, data, former)
        derive(database, consent, pairing)
        return compare_lake(database, lake, identity)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument(
        "--former",
        type=Path,
        action="append",
        help="a folder whose files were delivered once and are gone: its customer records stand",
    )
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--consent", choices=CONSENTS, default="any")
    parser.add_argument("--pairing", choices=PAIRINGS, default="timestamp")
    parser.add_argument("--identity", choices=IDENTITIES, default="pseudonym")
    options = parser.parse_args()
    for folder in (*options.data, options.lake):
        if not folder.is_dir():
            parser.error(f"no folder {folder}")
    report = compare(
        options.data,
        options.lake,
        options.consent,
        options.pairing,
        options.identity,
        options.former,
    )
    print(report)
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
