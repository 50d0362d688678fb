"""The job of the lake in Polars: three feeds in, five tables out as zstd Parquet.

with_polars.py --data DIR --out DIR --threads N

Threads are those of POLARS_MAX_THREADS, which Polars reads when it is imported.
"""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl

from peer import READINGS, TABLES, arguments, say

FEEDS = {
    "customer": {
        "customerName": pl.String,
        "email": pl.String,
        "phone": pl.String,
        "birthDay": pl.String,
        "serialNumber": pl.String,
        "registrationDate": pl.Int64,
        "lastUpdateDate": pl.Int64,
        "shareWithResearchAsOfDate": pl.Int64,
        "shareWithPublicAsOfDate": pl.Int64,
        "shareWithFriendsAsOfDate": pl.Int64,
    },
    "accelerometer": {
        "user": pl.String,
        "timestamp": pl.Int64,
        "x": pl.Float64,
        "y": pl.Float64,
        "z": pl.Float64,
    },
    "step_trainer": {
        "sensorReadingTime": pl.Int64,
        "serialNumber": pl.String,
        "distanceFromObject": pl.Int32,
    },
}


def landing(data: Path, stream: str) -> pl.LazyFrame:
    """A feed, its columns in lower case."""
    files = sorted((data / "landing" / stream).rglob("*.json"))
    schema = FEEDS[stream]
    return pl.scan_ndjson(files, schema=schema).rename({name: name.lower() for name in schema})


def key(column: str) -> pl.Expr:
    """A person, however their e-mail is written."""
    return pl.col(column).str.strip_chars(" ").str.to_lowercase().alias("key")


def trusted_customers(records: pl.LazyFrame) -> pl.DataFrame:
    """The newest record of each person, if it consents."""
    research = "sharewithresearchasofdate"
    columns = [name.lower() for name in FEEDS["customer"]]
    newest = pl.coalesce("lastupdatedate", "registrationdate")
    return (
        records.sort(
            newest,
            pl.col(research).is_not_null(),
            *columns,
            descending=[True, False, *[False] * len(columns)],
            nulls_last=[True, False, *[False] * len(columns)],
        )
        .with_columns(key("email"))
        .unique("key", keep="first", maintain_order=True)
        .filter(pl.col(research).is_not_null())
        .collect()
    )


def write(rows: pl.LazyFrame, out: Path, table: str) -> None:
    """Writes a table, readings partitioned by date."""
    place = out / TABLES[table]
    place.mkdir(parents=True)
    if at := READINGS.get(table):
        date = pl.from_epoch(at, time_unit="ms").dt.date().alias("reading_date")
        target = pl.PartitionBy(place, key="reading_date", include_key=False)
        rows.with_columns(date).sink_parquet(
            target, compression="zstd", mkdir=True, maintain_order=False
        )
    else:
        rows.sink_parquet(place / "part-0.parquet", compression="zstd")


def main() -> None:
    """The command."""
    options = arguments(__doc__)
    if pl.thread_pool_size() != options.threads:
        raise SystemExit(f"POLARS_MAX_THREADS must be {options.threads}")
    start = time.perf_counter()
    customers = trusted_customers(landing(options.data, "customer"))
    motion = (
        landing(options.data, "accelerometer")
        .with_columns(key("user"))
        .join(customers.lazy(), on="key", how="semi")
        .collect(engine="streaming")
    )
    curated = customers.join(motion, on="key", how="semi").drop("key")
    customers, motion = customers.drop("key"), motion.drop("key")
    steps = (
        landing(options.data, "step_trainer")
        .join(curated.lazy(), on="serialnumber", how="semi")
        .collect(engine="streaming")
    )
    pairs = (
        steps.lazy()
        .join(
            motion.lazy(),
            left_on="sensorreadingtime",
            right_on="timestamp",
            how="inner",
            coalesce=False,
        )
        .select("serialnumber", "sensorreadingtime", "distancefromobject", *motion.columns)
    )
    write(customers.lazy(), options.out, "customer_trusted")
    write(motion.lazy(), options.out, "accelerometer_trusted")
    write(curated.lazy(), options.out, "customer_curated")
    write(steps.lazy(), options.out, "step_trainer_trusted")
    write(pairs, options.out, "machine_learning_curated")
    say("Polars", pl.__version__, time.perf_counter() - start)


if __name__ == "__main__":
    main()
