"""Reads the derived tables of a lake with DuckDB, pyarrow and Polars, which must agree.

    readers.py --lake LAKE

Each reads the folder as it lies there, partitions included. Exit code 1 where they differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from compare import bags_differ
from derive import TABLES, count


def with_duckdb(folder: Path, dated: bool) -> pa.Table:
    """The table as DuckDB sees it."""
    hive = ", hive_partitioning=true" if dated else ""
    with duckdb.connect() as database:
        query = f"select * from read_parquet($glob{hive})"
        return database.sql(query, params={"glob": f"{folder}/**/*.parquet"}).to_arrow_table()


def with_pyarrow(folder: Path, dated: bool) -> pa.Table:
    """The table as pyarrow (and so pandas) sees it."""
    schema = pa.schema([("reading_date", pa.date32())])
    partitioning = ds.partitioning(schema, flavor="hive") if dated else None
    return ds.dataset(folder, format="parquet", partitioning=partitioning).to_table()


def with_polars(folder: Path, dated: bool) -> pa.Table:
    """The table as Polars sees it."""
    frame = pl.scan_parquet(
        folder / "**" / "*.parquet", hive_partitioning=dated, try_parse_hive_dates=True
    )
    return frame.collect().to_arrow()


READERS: dict[str, Callable[[Path, bool], pa.Table]] = {
    "duckdb": with_duckdb,
    "pyarrow": with_pyarrow,
    "polars": with_polars,
}


def disagreements(lake: Path, table: str) -> tuple[int, list[str]]:
    """Rows of a table, and what one reader sees otherwise than the first."""
    folder, columns, time = TABLES[table]
    place = lake / folder
    if not any(place.rglob("*.parquet")):
        return 0, []
    names = columns + (", reading_date DATE" if time else "")
    select = ", ".join(column.split()[0] for column in names.split(", "))
    with duckdb.connect() as database:
        for reader, read in READERS.items():
            database.register("seen", read(place, time is not None))
            database.execute(f"create table by_{reader} ({names})")
            database.execute(f"insert into by_{reader} by name select {select} from seen")
        found: list[str] = []
        first, *others = READERS
        for other in others:
            differences = bags_differ(
                database, f"select * from by_{first}", f"select * from by_{other}"
            )
            found += [f"{other} and {first}: {difference}" for difference in differences]
        return count(database, f"by_{first}"), found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lake", type=Path, required=True)
    lake = parser.parse_args().lake
    if not lake.is_dir():
        parser.error(f"no folder {lake}")
    differ = False
    for table in TABLES:
        rows, found = disagreements(lake, table)
        differ |= bool(found)
        print(f"{table:<26} {rows:>12,} rows  {'differs' if found else 'agree'}")
        for difference in found:
            print(f"    {difference}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
