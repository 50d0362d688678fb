"""Counts the rows of the five tables as they were written, and digests what is in them.

    written.py FOLDER [--digest]

Prints JSON: per table rows, objects, bytes and, if asked, a digest that depends on the rows and not
on their order.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import duckdb

from peer import TABLES

COLUMNS = {
    "customer": "customername, email, phone, birthday, serialnumber, registrationdate,"
    " lastupdatedate, sharewithresearchasofdate, sharewithpublicasofdate, sharewithfriendsasofdate",
    "accelerometer_trusted": '"user", "timestamp", x, y, z, reading_date',
    "step_trainer_trusted": "sensorreadingtime, serialnumber, distancefromobject, reading_date",
    "machine_learning_curated": 'serialnumber, sensorreadingtime, distancefromobject, "user",'
    ' "timestamp", x, y, z, reading_date',
}


def look(folder: Path, table: str, digest: bool) -> dict[str, int | str]:
    """What one table holds."""
    objects = sorted(path for path in (folder / TABLES[table]).rglob("*.parquet") if path.is_file())
    found: dict[str, int | str] = {
        "objects": len(objects),
        "bytes": sum(path.stat().st_size for path in objects),
    }
    columns = COLUMNS.get(table, COLUMNS["customer"])
    dated = ", hive_partitioning=true" if "reading_date" in columns else ""
    sums = f", sum(hash({columns}))::varchar" if digest else ""
    ((rows, *digests),) = duckdb.sql(
        f"select count(*){sums} from read_parquet($objects{dated})",
        params={"objects": [str(path) for path in objects]},
    ).fetchall()
    found["rows"] = rows
    if digest:
        found["digest"] = digests[0] or "0"
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digest", action="store_true")
    options = parser.parse_args()
    print(json.dumps({table: look(options.folder, table, options.digest) for table in TABLES}))


if __name__ == "__main__":
    main()
