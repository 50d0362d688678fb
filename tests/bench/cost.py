"""What the lake costs a month in an account, from calls that were measured (calls.py).

    cost.py --devices N --files-per-day F [--bytes-per-file B] [--calls calls/measured.json]
    cost.py --document > COST.md

Prints Markdown: quantities and dollars a month by service, beside what the same day costs as Glue
jobs. Prices and assumptions are inputs, in one place each, below.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
DAYS = 30
M = 1_000_000

# List prices of us-east-1 in dollars, first tier, no free tier, as best known: none of them could
# be looked up where this was written. To be checked before anybody relies on them.
PRICES_OF = "as known in 2025, written down 2026-11-24, to be checked"
PRICES = {
    "s3_put_list": (0.005 / 1_000, "S3 PUT, COPY, POST, LIST request"),
    "s3_get": (0.0004 / 1_000, "S3 GET, HEAD request"),
    "s3_gb_month": (0.023, "S3 Standard, GB-month"),
    "lambda_request": (0.20 / M, "Lambda request"),
    "lambda_gb_s": (0.0000133334, "Lambda GB-second, arm64"),
    "sqs_request": (0.40 / M, "SQS standard request"),
    "eventbridge_event": (1.00 / M, "EventBridge event of S3 (opt-in service event)"),
    "glue_catalog_request": (1.00 / M, "Glue Data Catalog request"),
    "logs_gb": (0.50, "CloudWatch Logs, GB ingested"),
    "metric_month": (0.30, "CloudWatch custom metric, month"),
    "alarm_month": (0.10, "CloudWatch alarm, month"),
    "dashboard_month": (3.00, "CloudWatch dashboard, month"),
    "secret_month": (0.40, "Secrets Manager secret, month"),
    "dpu_hour": (0.44, "Glue ETL, DPU-hour, one minute at the least"),
}

# What is neither measured nor a price.
ASSUMED = {
    "bytes_per_device_day": (10_430, "JSON of a device's day, both feeds, as in the real data"),
    "records_per_device_day": (115, "readings of a device's day, both feeds, as in the real data"),
    "accelerometer_share": (0.75, "share of the files of readings (9 of 12)"),
    "s3_call_s": (0.025, "seconds of one S3 call from Lambda"),
    "s3_calls_at_once": (4, "S3 calls in flight in a comparison; of changes it is measured"),
    "parse_bytes_per_s": (50e6, "bytes of JSON an invocation gets through in a second"),
    "network_bytes_per_s": (75e6, "bytes an invocation reads from S3 in a second (DESIGN.md, 8)"),
    "curated_share": (0.5, "share of the customers who are curated (482 of 956 in the real data)"),
    "owner_bytes": (49, "bytes of a person in the runs of the owners (lake/src/registers.rs)"),
    "device_bytes": (16, "bytes of a person in the index of devices (lake/src/index.rs)"),
    "memory_gb": (1.0, "memory of a function (template.yaml, MemoryMegabytes)"),
    "log_bytes_per_invocation": (4_000, "log of an invocation, metrics document included"),
    "idle_polls_month": (6 * 5 * 3 * 60 * 24 * DAYS, "receives of 6 queues: 5 pollers, each 20 s"),
    "reconciler_runs_month": (24 * DAYS, "of each function (template.yaml, ReconcileRate)"),
    "metrics": (
        75,
        "custom metrics: 12 of each function, a lag of 3 (aws/src/metrics.rs)",
    ),
    "alarms": (18, "alarms (template.yaml)"),
    "days_kept": (30, "days that landing objects are kept"),
    "bytes_out_share": (
        0.06,
        "Parquet bytes for each byte of JSON (RESULTS-COPIES.md: 0.057 at ×100)",
    ),
    "glue_jobs": (5, "Glue jobs, one a table"),
    "glue_dpus": (2, "DPUs of a job (the least: two G.1X workers)"),
    "glue_start_s": (30, "seconds of a job before it reads: billed"),
    "glue_rows_per_s": (
        150_000,
        "records a second of one such job that makes all five tables: PySpark here, two cores, ×100"
        " in 72 s (commit 229fa8e). Generous to Glue: in RESULTS.json, at ×10, it has 63,954",
    ),
}
P = {name: value for name, (value, _) in PRICES.items()}
A = {name: value for name, (value, _) in ASSUMED.items()}
# Files of readings with somebody who delivers once a day, in one file of each feed.
FILES_OF_A_PERSON = 2 * A["days_kept"]


@dataclass(frozen=True)
class Load:
    """A day, and how its files overlap in time."""

    devices: int
    files_per_day: int
    customer_files_per_day: int
    bytes_per_file: float
    withdrawals_per_day: int
    overlap_steps: int
    overlap_motion: int

    @property
    def rows_per_day(self) -> float:
        """Readings of a day."""
        return self.bytes_per_day * A["records_per_device_day"] / A["bytes_per_device_day"]

    @property
    def bytes_per_day(self) -> float:
        """JSON of a day."""
        return self.files_per_day * self.bytes_per_file

    @property
    def again_per_day(self) -> int:
        """Files of readings that are derived again for withdrawals, beside the measured ones."""
        return self.withdrawals_per_day * max(0, FILES_OF_A_PERSON - WITHDRAWN)

    def people_per_file(self, stream: str) -> float:
        """Whose readings a file holds: every device delivers once a day, in one file of a feed."""
        share = A["accelerometer_share"]
        return self.devices / (
            self.files_per_day * (share if stream != "step_trainer" else 1 - share)
        )


@dataclass(frozen=True)
class Line:
    """A line of the bill."""

    service: str
    what: str
    quantity: float
    dollars: float


# --- calls ---------------------------------------------------------------------------------------

# Of calls.py: people of a wide object, objects an overlapping one overlaps with, landing objects of
# a date that is compacted, landing objects before a comparison, those of somebody who withdraws.
WIDE, OVERLAPPED, COMPACTED, BETWEEN, WITHDRAWN = 675, 10, 50, 2, 4
# PUTs of a landing object that is delivered, and not of one that is derived again: its manifest and
# its run of an index. What merging such runs takes cannot be told from the rest.
RECORDED = 2
# How many objects that overlap are read at once (functions/lake/src/lake/bounds.rs, `concurrency`).
AT_ONCE = 10
# In how many parts of a register people are looked at one by one (of more, the runs are read): at
# the least, and one for so many parts there are (`parts_looked_at`, `parts_per_look`, there).
LOOKED_AT, PARTS_PER_LOOK = 12, 128
# What is looked at of each part: the consents, the curated register, and the version of
# customer_trusted for who is not trusted; the owners. So many at once (`looks_at_once`, there).
LOOKS = {"accelerometer": 3, "step trainer": 1}
LOOKS_AT_ONCE = 32


def of(change: dict) -> Counter[str]:
    """Calls of a change, as they are billed, and those that are waited for one after the other."""
    calls = change["calls"]
    return Counter(
        get=calls.get("get", 0) + calls.get("head", 0),
        list=calls.get("list", 0),
        put=calls.get("put", 0) + calls.get("upload", 0),
        delete=calls.get("delete", 0),
        glue=change["catalog_calls"],
        invocations=change["invocations"],
        waits=change["waits"],
        read_bytes=change["read_bytes"],
    )


def times(calls: Counter[str], factor: float) -> Counter[str]:
    """So many times as many."""
    return Counter({kind: count * factor for kind, count in calls.items()})


def beyond(more: Counter[str], less: Counter[str]) -> Counter[str]:
    """By how many there are more; of a kind of which there happen to be fewer, none."""
    return Counter({kind: max(0, count - less[kind]) for kind, count in more.items()})


def parts_of(people: float, parts: int) -> float:
    """Among how many parts so many people are, as a rule."""
    return parts * (1 - (1 - 1 / parts) ** people)


def of_file(lake: dict, stream: str, people: float) -> Counter[str]:
    """Calls of one landing object of readings: looks at the parts of its people, or at the runs."""
    parts = parts_of(people, lake["parts"])
    if parts > max(LOOKED_AT, lake["parts"] // PARTS_PER_LOOK):
        return of(lake[f"wide {stream}"])
    looks = LOOKS[stream] * max(0.0, parts - 1)
    return of(lake[stream]) + Counter(get=looks, waits=looks / LOOKS_AT_ONCE)


def owners_bytes(load: Load, stream: str) -> float:
    """Bytes of what is read of all who are curated: of whom the measured lakes have but few."""
    each = A["owner_bytes"] + (A["device_bytes"] if stream == "step_trainer" else 0)
    return load.devices * A["curated_share"] * each


def lake_for(load: Load, described: dict) -> dict:
    """The measured lake that is nearest, of those with as many customers or more."""
    sizes = sorted(int(size) for size in described["lakes"])
    fits = next((size for size in sizes if size >= load.devices), sizes[-1])
    return described["lakes"][str(fits)]


def of_month(load: Load, described: dict) -> Counter[str]:
    """Calls of a month, but for the comparisons."""
    lake = lake_for(load, described)
    share = A["accelerometer_share"]
    motion = of_file(lake, "accelerometer", load.people_per_file("accelerometer"))
    motion["read_bytes"] += owners_bytes(load, "accelerometer")
    overlap = beyond(of(lake["overlap"]), of(lake["accelerometer"]))
    motion += times(overlap, load.overlap_steps / OVERLAPPED)
    further = max(0, load.overlap_motion - load.overlap_steps)
    motion["get"] += further
    motion["waits"] += further / AT_ONCE
    steps = of_file(lake, "step trainer", load.people_per_file("step_trainer"))
    steps["read_bytes"] += owners_bytes(load, "step_trainer")
    steps["get"] += load.overlap_motion
    steps["waits"] += load.overlap_motion / AT_ONCE
    compaction = of(lake["compaction"])
    compaction["get"] *= load.files_per_day / COMPACTED
    compaction["waits"] *= load.files_per_day / COMPACTED
    day = times(motion, load.files_per_day * share)
    day += times(steps, load.files_per_day * (1 - share))
    day += times(of(lake["customer"]), load.customer_files_per_day)
    day += times(of(lake["withdrawal"]), load.withdrawals_per_day)
    again = times(motion + steps, load.again_per_day / 2)
    again["put"] -= RECORDED * load.again_per_day
    day += again
    day += compaction
    day["objects"] = load.files_per_day + load.customer_files_per_day + load.withdrawals_per_day
    return times(day, DAYS)


def of_comparisons(load: Load, described: dict) -> Counter[str]:
    """Calls of a month's comparisons: listings of what there is, looks at what changed."""
    lake, runs = lake_for(load, described), A["reconciler_runs_month"]
    idle = of(lake["idle comparison"])
    few, more = described["lakes"]["1000"], described["more_objects"]
    each = (of(more["idle comparison"])["list"] - of(few["idle comparison"])["list"]) / (
        more["objects"] - few["objects"]
    )
    idle["list"] += each * (load.files_per_day * A["days_kept"] - lake["objects"])
    files = (load.files_per_day + load.again_per_day) * DAYS
    changed = beyond(of(lake["comparison"]), of(lake["idle comparison"]))
    month = times(idle, runs)
    month["get"] += changed["get"] * files / BETWEEN
    month["put"] += changed["put"] * runs
    customers = (load.customer_files_per_day + load.withdrawals_per_day) * DAYS
    of_customer = beyond(of(lake["withdrawn comparison"]), of(lake["idle comparison"]))
    month["get"] += of_customer["get"] * customers
    # The parts of the people in what was delivered since, as far as they did not change themselves.
    month["get"] += runs * parts_of(load.devices * DAYS / runs, lake["parts"])
    return month


# --- the bill ------------------------------------------------------------------------------------


def bill(load: Load, described: dict) -> list[Line]:
    """The lake's month."""
    month = of_month(load, described)
    compared = of_comparisons(load, described)
    landed, written = month["objects"], month["put"] + month["delete"]
    seconds = month["waits"] * A["s3_call_s"]
    parsed = load.bytes_per_day + load.again_per_day * load.bytes_per_file
    seconds += DAYS * parsed / A["parse_bytes_per_s"]
    seconds += month["read_bytes"] / A["network_bytes_per_s"]
    calls_comparing = compared["get"] + compared["list"] + compared["put"]
    seconds_comparing = calls_comparing * A["s3_call_s"] / A["s3_calls_at_once"]
    invocations = month["invocations"] + compared["invocations"]
    gb = load.bytes_per_day * A["days_kept"] * (1 + A["bytes_out_share"]) / 1e9
    logs = invocations * A["log_bytes_per_invocation"] / 1e9
    requests = (
        ("S3", "PUT, landing objects", landed, "s3_put_list"),
        ("S3", "PUT", month["put"], "s3_put_list"),
        ("S3", "LIST", month["list"], "s3_put_list"),
        ("S3", "GET", month["get"], "s3_get"),
        ("S3", "LIST, PUT, comparisons", compared["list"] + compared["put"], "s3_put_list"),
        ("S3", "GET, comparisons", compared["get"], "s3_get"),
        ("S3", "GB-months", gb, "s3_gb_month"),
        ("Lambda", "requests", invocations, "lambda_request"),
        ("Lambda", "GB-seconds", seconds * A["memory_gb"], "lambda_gb_s"),
        ("Lambda", "GB-s, comparisons", seconds_comparing * A["memory_gb"], "lambda_gb_s"),
        ("EventBridge", "events", landed + written, "eventbridge_event"),
        ("SQS", "send, receive, delete", 3 * invocations, "sqs_request"),
        ("SQS", "receives of idle queues", A["idle_polls_month"], "sqs_request"),
        ("Glue Data Catalog", "requests", month["glue"] + compared["glue"], "glue_catalog_request"),
        ("CloudWatch", "GB of logs", logs, "logs_gb"),
        ("CloudWatch", "metrics", A["metrics"], "metric_month"),
        ("CloudWatch", "alarms", A["alarms"], "alarm_month"),
        ("CloudWatch", "dashboards", 1, "dashboard_month"),
        ("Secrets Manager", "secrets", 1, "secret_month"),
    )
    return [Line(*line[:3], line[2] * P[line[3]]) for line in requests]


def glue_jobs(load: Load, runs_per_day: float) -> Line:
    """The same days as Glue jobs, each run reading what is new and nothing else."""
    rows = load.rows_per_day / runs_per_day
    seconds = max(60.0, A["glue_start_s"] + rows / (A["glue_jobs"] * A["glue_rows_per_s"]))
    hours = A["glue_jobs"] * A["glue_dpus"] * seconds / 3_600 * runs_per_day * DAYS
    return Line(
        "Glue jobs", f"DPU-hours, {runs_per_day:g} runs a day", hours, hours * P["dpu_hour"]
    )


def amount(value: float) -> str:
    """A quantity for people."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def table(load: Load, described: dict) -> str:
    """The bill as Markdown."""
    lines = bill(load, described)
    total = sum(line.dollars for line in lines)
    others = sum(line.dollars for line in bill(replace(load, withdrawals_per_day=0), described))
    head = (
        f"{load.devices:,} devices, {load.files_per_day:,} files of readings a day of"
        f" {load.bytes_per_file / 1e6:,.2f} MB, {load.customer_files_per_day:,} customer files and"
        f" {load.withdrawals_per_day:,} withdrawals a day:"
        f" {load.bytes_per_day / 1e9:,.2f} GB and {load.rows_per_day / M:,.1f} M readings a"
        f" day. An accelerometer object overlaps in time with {load.overlap_steps} objects of the"
        f" step trainer and {load.overlap_motion} of its own feed."
    )
    rows = [head, "", "| service | what | a month | dollars |", "|---|---|---|---|"]
    for line in lines:
        cells = line.service, line.what, amount(line.quantity), f"{line.dollars:,.2f}"
        rows.append(f"| {' | '.join(cells)} |")
    rows.append(f"| **the lake** | | | **{total:,.2f}** |")
    rows.append(f"| of it, withdrawals | | | {total - others:,.2f} |")
    for runs in sorted({1, 24, load.files_per_day}):
        line = glue_jobs(load, runs)
        cells = line.service, line.what, amount(line.quantity), f"{line.dollars:,.2f}"
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


# --- the command ---------------------------------------------------------------------------------

DOCUMENT = """\
# What the lake costs

Written by `tests/bench/cost.py --document`; run it with figures of your own. It is a model:
measured calls, assumed times, list prices. Nothing was deployed in an account, no bill was seen.

- **Calls are measured**: {steady}.
- **Prices are inputs**: {prices_of}.
- **Left out**: taxes, free tiers, KMS, Athena's scans, data transfer, failures and their repeats.
- **Everybody delivers once a day**, in one file of each feed. A customer file has one record.
- **Whoever withdraws** is in {files} files of readings, two of each day that is kept. Of those
  {withdrawn} are measured, with nobody else in them. Each of the others, with as many people as
  any, is priced as if it were delivered, cold and alone, but for the PUTs of its landing object,
  its manifest and its run of an index; what merging such runs takes is left in. Batching lowers it:
  what is derived in one invocation shares what it looks at.
- **What grows**: an object with people in few parts of the registers looks at those, one by one;
  with people in more than {looked_at} parts, and in more than a {per_look}th of all, at the runs of
  all parts, which are about as many objects whatever the lake: so it is priced as the measured one
  of {wide} people.
  Of a million customers the runs have some 30 MB of consents, and of those who are curated 25 MB
  more, which the measured lakes have not: they are added. An accelerometer object has the step
  trainer objects of its time derived again, from all accelerometer objects of that time: the
  overlaps are an input (`--overlap-steps`, `--overlap-motion`), and the model's weakest one.
- **The comparisons** of every hour list everything there is, a thousand objects a call, and look at
  what was delivered or derived again since the last, and at the witnesses of a part with a changed
  customer. They are the one line that follows the lake, not the change.
- **Compaction**: a date a day, once.
- **Glue jobs** read, in this model, only what is new, and share the time that all five tables take.
  A job that lets a later consent, or a withdrawal, reach earlier readings, as the lake does, reads
  more. Two DPUs have more cores than the two that PySpark was measured on, and may take less time.
  As many runs as there are files is the freshness that the lake has.

## Prices

| input | dollars | |
|---|---|---|
{prices}

## Assumptions

| input | value | |
|---|---|---|
{assumptions}

## A lake at rest, one more object at a time

{tables}
"""
SIZES = ((1_000, 48, 1, 3, 9), (100_000, 1_000, 10, 10, 30), (1_000_000, 5_000, 100, 17, 52))


def document() -> str:
    """COST.md: prices, assumptions, and three sizes."""
    measured = read("measured")
    prices = [f"| {name} | {value:.10f} | {what} |" for name, (value, what) in PRICES.items()]
    assumed = [f"| {name} | {value:,g} | {what} |" for name, (value, what) in ASSUMED.items()]
    loads = [load_of(n, f, 24, gone, None, *overlaps) for n, f, gone, *overlaps in SIZES]
    return DOCUMENT.format(
        steady=measured["source"],
        wide=WIDE,
        looked_at=LOOKED_AT,
        per_look=PARTS_PER_LOOK,
        files=FILES_OF_A_PERSON,
        withdrawn=WITHDRAWN,
        prices_of=PRICES_OF,
        prices="\n".join(prices),
        assumptions="\n".join(assumed),
        tables="\n\n".join(table(load, measured) for load in loads),
    )


def read(name: str) -> dict:
    """Measured calls that are kept here."""
    return json.loads((HERE / "calls" / f"{name}.json").read_text(encoding="utf-8"))


def load_of(
    devices: int,
    files: int,
    customer_files: int,
    withdrawals: int,
    bytes_: float | None,
    steps: int,
    motion: int,
) -> Load:
    """A load; the bytes of a file follow from the devices where they are not given."""
    each = bytes_ or devices * A["bytes_per_device_day"] / files
    return Load(devices, files, customer_files, each, withdrawals, steps, motion)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--document", action="store_true", help="write COST.md instead")
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--files-per-day", type=int, default=48, help="of readings, both feeds")
    parser.add_argument("--customer-files-per-day", type=int, default=24)
    parser.add_argument("--withdrawals-per-day", type=int, default=1)
    parser.add_argument("--bytes-per-file", type=float, help="default: follows from the devices")
    parser.add_argument("--overlap-steps", type=int, default=3, help="step trainer objects")
    parser.add_argument("--overlap-motion", type=int, default=9, help="accelerometer objects")
    parser.add_argument("--calls", type=Path, default=HERE / "calls" / "measured.json")
    options = parser.parse_args()
    if options.document:
        print(document(), end="")
        return
    load = load_of(
        options.devices,
        options.files_per_day,
        options.customer_files_per_day,
        options.withdrawals_per_day,
        options.bytes_per_file,
        options.overlap_steps,
        options.overlap_motion,
    )
    described = json.loads(options.calls.read_text(encoding="utf-8"))
    print(f"Calls: {described['source']}.\nPrices: {PRICES_OF}.\n\n{table(load, described)}")


if __name__ == "__main__":
    main()
