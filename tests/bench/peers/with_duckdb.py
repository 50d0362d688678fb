"""The job of the lake in DuckDB: three feeds in, five tables out as zstd Parquet.

with_duckdb.py --data DIR --out DIR --threads N
"""

from __future__ import annotations

import time
from pathlib import Path

import duckdb

from peer import READINGS, TABLES, arguments, say

FEEDS = {
    "customer": """
        customerName VARCHAR, email VARCHAR, phone VARCHAR, birthDay VARCHAR, serialNumber VARCHAR,
        registrationDate BIGINT, lastUpdateDate BIGINT, shareWithResearchAsOfDate BIGINT,
        shareWithPublicAsOfDate BIGINT, shareWithFriendsAsOfDate BIGINT""",
    "accelerometer": "user VARCHAR, timestamp BIGINT, x DOUBLE, y DOUBLE, z DOUBLE",
    "step_trainer": "sensorReadingTime BIGINT, serialNumber VARCHAR, distanceFromObject INTEGER",
}

# Readings of every feed are used once, so the feeds stay views; derived tables are used again.
RULES = """
create table customer_trusted as
select customername, email, phone, birthday, serialnumber, registrationdate, lastupdatedate,
    sharewithresearchasofdate, sharewithpublicasofdate, sharewithfriendsasofdate
from customer_landing
qualify sharewithresearchasofdate is not null and 1 = row_number() over (
    partition by lower(trim(email, ' '))
    order by coalesce(lastupdatedate, registrationdate) desc nulls last,
        sharewithresearchasofdate is not null, customername nulls first, email nulls first,
        phone nulls first, birthday nulls first, serialnumber nulls first,
        registrationdate nulls first, lastupdatedate nulls first,
        sharewithresearchasofdate nulls first, sharewithpublicasofdate nulls first,
        sharewithfriendsasofdate nulls first);

create table accelerometer_trusted as
select a."user", a."timestamp", a.x, a.y, a.z from accelerometer_landing a
where lower(trim(a."user", ' ')) in (select lower(trim(email, ' ')) from customer_trusted);

create table customer_curated as
select c.* from customer_trusted c
where lower(trim(c.email, ' ')) in (select lower(trim("user", ' ')) from accelerometer_trusted);

create table step_trainer_trusted as
select s.sensorreadingtime, s.serialnumber, s.distancefromobject from step_trainer_landing s
where s.serialnumber in (select serialnumber from customer_curated where serialnumber is not null);

create view machine_learning_curated as
select s.serialnumber, s.sensorreadingtime, s.distancefromobject, a.*
from step_trainer_trusted s join accelerometer_trusted a on a."timestamp" = s.sensorreadingtime;
"""


def read(database: duckdb.DuckDBPyConnection, data: Path) -> None:
    """Makes a view of each feed."""
    for stream, fields in FEEDS.items():
        columns = dict(field.split() for field in fields.split(","))
        struct = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
        pattern = str(data / "landing" / stream / "**" / "*.json").replace("'", "''")
        database.execute(
            f"create view {stream}_landing as select * from"
            f" read_json('{pattern}', format='newline_delimited', columns={{{struct}}})"
        )


def write(database: duckdb.DuckDBPyConnection, out: Path) -> None:
    """Writes the five tables, the readings partitioned by date."""
    for table, folder in TABLES.items():
        place = out / folder
        place.mkdir(parents=True)
        if at := READINGS.get(table):
            rows = f'(select *, make_timestamp("{at}" * 1000)::date as reading_date from {table})'
            how, target = ", partition_by (reading_date)", place
        else:
            rows, how, target = table, "", place / "part-0.parquet"
        escaped = str(target).replace("'", "''")
        database.execute(f"copy {rows} to '{escaped}' (format parquet, compression zstd{how})")


def main() -> None:
    """The command."""
    options = arguments(__doc__)
    start = time.perf_counter()
    with duckdb.connect() as database:
        database.execute(f"set threads to {options.threads}")
        database.execute("set preserve_insertion_order to false")
        read(database, options.data)
        database.execute(RULES)
        write(database, options.out)
        # Closing is left out, as other peers' is.
        seconds = time.perf_counter() - start
    say("DuckDB", duckdb.__version__, seconds)


if __name__ == "__main__":
    main()
