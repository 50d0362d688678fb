"""The job of the lake in PySpark: three feeds in, five tables out as zstd Parquet.

with_spark.py --data DIR --out DIR --threads N
"""

from __future__ import annotations

import time
from pathlib import Path

import pyspark
from pyspark.sql import DataFrame, SparkSession

from peer import READINGS, TABLES, arguments, say

FEEDS = {
    "customer": """
        customerName string, email string, phone string, birthDay string, serialNumber string,
        registrationDate bigint, lastUpdateDate bigint, shareWithResearchAsOfDate bigint,
        shareWithPublicAsOfDate bigint, shareWithFriendsAsOfDate bigint""",
    "accelerometer": "user string, timestamp bigint, x double, y double, z double",
    "step_trainer": "sensorReadingTime bigint, serialNumber string, distanceFromObject int",
}

RULES = {
    "customer_trusted": """
        select customername, email, phone, birthday, serialnumber, registrationdate,
            lastupdatedate, sharewithresearchasofdate, sharewithpublicasofdate,
            sharewithfriendsasofdate
        from (
            select *, row_number() over (
                partition by lower(trim(email))
                order by coalesce(lastupdatedate, registrationdate) desc nulls last,
                    sharewithresearchasofdate is not null, customername, email, phone, birthday,
                    serialnumber, registrationdate, lastupdatedate, sharewithresearchasofdate,
                    sharewithpublicasofdate, sharewithfriendsasofdate) as newest
            from customer_landing)
        where newest = 1 and sharewithresearchasofdate is not null""",
    "accelerometer_trusted": """
        select a.user, a.timestamp, a.x, a.y, a.z
        from accelerometer_landing a left semi join customer_trusted c
            on lower(trim(c.email)) = lower(trim(a.user))""",
    "customer_curated": """
        select c.* from customer_trusted c left semi join accelerometer_trusted a
            on lower(trim(a.user)) = lower(trim(c.email))""",
    "step_trainer_trusted": """
        select s.sensorreadingtime, s.serialnumber, s.distancefromobject
        from step_trainer_landing s left semi join customer_curated c
            on c.serialnumber = s.serialnumber""",
    "machine_learning_curated": """
        select s.serialnumber, s.sensorreadingtime, s.distancefromobject, a.*
        from step_trainer_trusted s join accelerometer_trusted a
            on a.timestamp = s.sensorreadingtime""",
}


def session(threads: int) -> SparkSession:
    """Spark on this machine, set for it: few shuffle partitions, no web pages."""
    builder = SparkSession.builder.master(f"local[{threads}]").appName("stedi")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": "8g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": 2 * threads,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.compression.codec": "zstd",
    }
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    return builder.getOrCreate()


def read(spark: SparkSession, data: Path) -> None:
    """Makes a view of each feed, its columns in lower case."""
    for stream, schema in FEEDS.items():
        reader = spark.read.schema(schema).option("recursiveFileLookup", "true")
        frame = reader.json(str(data / "landing" / stream))
        frame.toDF(*map(str.lower, frame.columns)).createOrReplaceTempView(f"{stream}_landing")


def write(rows: DataFrame, out: Path, table: str) -> None:
    """Writes a table, readings partitioned by date."""
    if at := READINGS.get(table):
        rows = rows.selectExpr("*", f"to_date(timestamp_millis(`{at}`)) as reading_date")
        writer = rows.write.partitionBy("reading_date")
    else:
        writer = rows.write
    writer.parquet(str(out / TABLES[table]))


def main() -> None:
    """The command."""
    options = arguments(__doc__)
    spark = session(options.threads)
    start = time.perf_counter()
    read(spark, options.data)
    for table, rule in RULES.items():
        rows = spark.sql(rule)
        if table != "machine_learning_curated":  # used again, all but the last
            rows = rows.cache()
        rows.createOrReplaceTempView(table)
        write(rows, options.out, table)
    seconds = time.perf_counter() - start
    say("PySpark", pyspark.__version__, seconds)
    spark.stop()


if __name__ == "__main__":
    main()
