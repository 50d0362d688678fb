"""Derives the five tables from the landing tables by the SQL files of the house."""

from __future__ import annotations

from pathlib import Path

import duckdb

SQL = Path(__file__).resolve().parents[2] / "infra" / "sql"
STEPS = (
    "trusted/customer_landing_to_trusted.sql",
    "trusted/accelerometer_landing_to_trusted.sql",
    "curated/customer_curated.sql",
    "trusted/step_trainer_landing_to_trusted.sql",
    "curated/machine_learning_curated.sql",
)
CONSENTS = ("any", "as-of")
PAIRINGS = ("timestamp", "customer")
IDENTITIES = ("pseudonym", "none", "clear")

CUSTOMER = (
    "customername VARCHAR, email VARCHAR, phone VARCHAR, birthday VARCHAR, serialnumber VARCHAR,"
    " registrationdate BIGINT, lastupdatedate BIGINT, sharewithresearchasofdate BIGINT,"
    " sharewithpublicasofdate BIGINT, sharewithfriendsasofdate BIGINT"
)
ACCELEROMETER = '"user" VARCHAR, "timestamp" BIGINT, x DOUBLE, y DOUBLE, z DOUBLE'
STEP_TRAINER = "sensorreadingtime BIGINT, serialnumber VARCHAR, distancefromobject INTEGER"
MACHINE_LEARNING = (
    "serialnumber VARCHAR, sensorreadingtime BIGINT, distancefromobject INTEGER,"
    ' "user" VARCHAR, "timestamp" BIGINT, x DOUBLE, y DOUBLE, z DOUBLE'
)

# The five derived tables: folder in the lake, columns, and the column that dates a reading.
TABLES: dict[str, tuple[str, str, str | None]] = {
    "customer_trusted": ("trusted/customer", CUSTOMER, None),
    "accelerometer_trusted": ("trusted/accelerometer", ACCELEROMETER, '"timestamp"'),
    "customer_curated": ("curated/customer", CUSTOMER, None),
    "step_trainer_trusted": ("trusted/step_trainer", STEP_TRAINER, "sensorreadingtime"),
    "machine_learning_curated": (
        "curated/machine_learning",
        MACHINE_LEARNING,
        "sensorreadingtime",
    ),
}

# What the identity policy 'none' leaves of machine_learning_curated.
WITHOUT_IDENTITY = 'select * replace (null::varchar as serialnumber, null::varchar as "user") from'


def derive(database: duckdb.DuckDBPyConnection, consent: str, pairing: str) -> dict[str, int]:
    """Runs the SQL under a policy; answers the rows of each table."""
    database.execute(
        "create or replace table policy as select ? as consent, ? as pairing", [consent, pairing]
    )
    for step in STEPS:
        database.execute((SQL / step).read_text(encoding="utf-8"))
    return {table: count(database, table) for table in TABLES}


def count(database: duckdb.DuckDBPyConnection, relation: str) -> int:
    """Rows of a table or view."""
    # fetchall, not fetchone: the connection takes nothing else while a result is unfinished.
    ((rows,),) = database.execute(f"select count(*) from {relation}").fetchall()
    return rows
