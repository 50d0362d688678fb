"""Times DuckDB on the job of the lake: three feeds in, five tables out as zstd Parquet.

    time_duckdb.py --data DIR [--consent any] [--pairing timestamp] [--threads N] [--repeat 3]

For comparison only: newline-delimited feeds with the usual spelling of keys, no quarantine, no
register, nothing incremental. Prints the fastest of the runs, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from derive import CONSENTS, PAIRINGS, TABLES, count, derive
from load import STREAMS, stream_files

KEYS = {
    "customer": (
        "customerName VARCHAR, email VARCHAR, phone VARCHAR, birthDay VARCHAR,"
        " serialNumber VARCHAR, registrationDate BIGINT, lastUpdateDate BIGINT,"
        " shareWithResearchAsOfDate BIGINT, shareWithPublicAsOfDate BIGINT,"
        " shareWithFriendsAsOfDate BIGINT"
    ),
    "accelerometer": "user VARCHAR, timestamp BIGINT, x DOUBLE, y DOUBLE, z DOUBLE",
    "step_trainer": "sensorReadingTime BIGINT, serialNumber VARCHAR, distanceFromObject INTEGER",
}


def read(database: duckdb.DuckDBPyConnection, data: Path) -> int:
    """Makes the landing tables; answers their rows."""
    rows = 0
    for stream, keys in KEYS.items():
        columns = dict(key.split(" ") for key in keys.split(", "))
        paths = [str(path) for path in stream_files(data, stream).values()]
        database.execute(
            f"create table {stream}_landing as select * from"
            " read_json($paths, format='newline_delimited', columns=$columns)",
            {"paths": paths, "columns": columns},
        )
        rows += count(database, f"{stream}_landing")
    return rows


def write(database: duckdb.DuckDBPyConnection, out: Path) -> None:
    """Writes the five tables, the readings partitioned by date."""
    for table, (folder, _, at) in TABLES.items():
        place = out / folder
        place.mkdir(parents=True)
        if at:
            date = f"make_timestamp({at} * 1000)::date as reading_date"
            rows, target = f"(select *, {date} from {table})", f"'{place}'"
            how = "format parquet, compression zstd, partition_by (reading_date)"
        else:
            rows, target = table, f"'{place}/part-00.parquet'"
            how = "format parquet, compression zstd"
        database.execute(f"copy {rows} to {target} ({how})")


def timed(data: Path, consent: str, pairing: str, threads: int) -> tuple[float, int]:
    """Seconds of one run from nothing, and the landing rows."""
    with tempfile.TemporaryDirectory() as out, duckdb.connect() as database:
        database.execute(f"set threads to {threads}")
        start = time.perf_counter()
        rows = read(database, data)
        derive(database, consent, pairing)
        write(database, Path(out))
        return time.perf_counter() - start, rows


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--consent", choices=CONSENTS, default="any")
    parser.add_argument("--pairing", choices=PAIRINGS, default="timestamp")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if not all(stream_files(options.data, stream) for stream in STREAMS):
        parser.error(f"not all three feeds are in {options.data}")
    runs = [
        timed(options.data, options.consent, options.pairing, options.threads)
        for _ in range(options.repeat)
    ]
    seconds, rows = min(runs)
    found = {
        "duckdb": duckdb.__version__,
        "threads": options.threads,
        "landing_rows": rows,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds),
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
