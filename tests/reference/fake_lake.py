"""Writes a lake folder from the reference tables, laid out as the lake lays itself out.

For the tests of the tests: `compare.py` must find such a lake right, and any change to it wrong.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import duckdb

from derive import TABLES, WITHOUT_IDENTITY

PARTS = 4
KEY = b"a key only for tests"


def pseudonym(value: str | None) -> str | None:
    """A keyed pseudonym: 64 hexadecimal digits."""
    if value is None:
        return None
    return hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()


def write(database: duckdb.DuckDBPyConnection, lake: Path, identity: str) -> None:
    """Writes the five tables; partitions without rows get an object of no rows."""
    for table, (folder, _, time) in TABLES.items():
        rows = f"select * from {table}"
        if table == "machine_learning_curated" and identity != "clear":
            rows = hidden(database, table, identity)
        if time:
            write_readings(database, rows, lake / folder, time)
        else:
            write_parts(database, rows, lake / folder)


def hidden(database: duckdb.DuckDBPyConnection, table: str, identity: str) -> str:
    """The last table with its identities replaced."""
    if identity == "none":
        return f"{WITHOUT_IDENTITY} {table}"
    database.execute("create or replace temp table pseudonym (clear varchar, pseudonym varchar)")
    values = database.execute(
        f"select distinct lower(trim(both ' ' from \"user\")) from {table}"
        f" union select distinct serialnumber from {table}"
    ).fetchall()
    if values:
        pairs = [[value, pseudonym(value)] for (value,) in values]
        database.executemany("insert into pseudonym values (?, ?)", pairs)
    return (
        'select t.* replace (d.pseudonym as serialnumber, p.pseudonym as "user")'
        f" from {table} t join pseudonym d on d.clear = t.serialnumber"
        " join pseudonym p on p.clear = lower(trim(both ' ' from t.\"user\"))"
    )


def write_parts(database: duckdb.DuckDBPyConnection, rows: str, folder: Path) -> None:
    """A customer table: a fixed number of parts, also where one is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(PARTS):
        chosen = f"select * from ({rows}) where hash(lower(trim(email))) % {PARTS} = {part}"
        copy(database, chosen, folder / f"part-{part:02x}.parquet")


def write_readings(database: duckdb.DuckDBPyConnection, rows: str, folder: Path, time: str) -> None:
    """A table of readings: a folder a date, two objects and an empty one in each."""
    database.execute(
        "create or replace temp table dated as"
        f" select make_timestamp({time} * 1000)::date as day, r.* from ({rows}) r"
    )
    days = database.execute("select distinct day from dated order by day").fetchall()
    for (day,) in days:
        place = folder / f"reading_date={day}"
        place.mkdir(parents=True, exist_ok=True)
        for number, condition in enumerate(("x % 2 = 0", "x % 2 = 1", "false")):
            condition = condition.replace("x", time)
            chosen = f"select * exclude (day) from dated where day = '{day}' and {condition}"
            copy(database, chosen, place / f"0000000000000-0000000000001-{number:016x}.parquet")


def copy(database: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
    """Rows as a Parquet file."""
    escaped = str(path).replace("'", "''")
    database.execute(f"copy ({rows}) to '{escaped}' (format parquet, compression zstd)")
