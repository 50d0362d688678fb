"""Loads a data folder into the three landing tables of a DuckDB database.

Takes what the feeds deliver: newline-delimited objects, objects one after another, arrays, cut-off
tails, gzip and zstd. Records that the lake must quarantine (docs: DESIGN, "The eight tables") are
left out here too. Plain Python on purpose: nothing is shared with the lake's reader.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

import duckdb
import pyarrow as pa

STREAMS = ("customer", "accelerometer", "step_trainer")

# Times outside are not plausible: 2000-01-01 to 2100-01-01, epoch milliseconds.
TIME_MIN_MS, TIME_MAX_MS = 946_684_800_000, 4_102_444_800_000

sys.set_int_max_str_digits(0)  # an absurd number is a bad value, not a failure of this script


class Quarantined(Exception):
    """The record cannot be a row; the argument is the reason."""


@dataclass(frozen=True)
class Column:
    """A column of a landing table: its name, its type, what it is for."""

    name: str
    kind: str
    role: str = ""  # "key", "time" of a reading, "date" of a customer record


CUSTOMER_COLUMNS = (
    Column("customername", "string"),
    Column("email", "string", "key"),
    Column("phone", "string"),
    Column("birthday", "string"),
    Column("serialnumber", "string"),
    Column("registrationdate", "bigint", "date"),
    Column("lastupdatedate", "bigint", "date"),
    Column("sharewithresearchasofdate", "bigint", "moment"),
    Column("sharewithpublicasofdate", "bigint"),
    Column("sharewithfriendsasofdate", "bigint"),
)
ACCELEROMETER_COLUMNS = (
    Column("user", "string", "key"),
    Column("timestamp", "bigint", "time"),
    Column("x", "double"),
    Column("y", "double"),
    Column("z", "double"),
)
STEP_TRAINER_COLUMNS = (
    Column("sensorreadingtime", "bigint", "time"),
    Column("serialnumber", "string", "key"),
    Column("distancefromobject", "int", "distance"),
)
COLUMNS = dict(
    zip(STREAMS, (CUSTOMER_COLUMNS, ACCELEROMETER_COLUMNS, STEP_TRAINER_COLUMNS), strict=True)
)
ARROW = {"string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "double": pa.float64()}


@dataclass
class Loaded:
    """What a load found: rows per stream, and what was left out, by stream and reason."""

    rows: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)


# --- where the files are -------------------------------------------------------------------------


def stream_files(data: Path, stream: str) -> dict[str, Path]:
    """Files of a stream in a data folder, by their key below the stream's landing prefix."""
    for folder in (data / "landing" / stream, data / stream / "landing", data / stream):
        if folder.is_dir():
            paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
            return {path.relative_to(folder).as_posix(): path for path in paths}
    return {}


def file_bytes(path: Path) -> bytes:
    """Content of a file, decompressed by its first bytes; of a damaged one what can be read."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        return readable(gzip.GzipFile(fileobj=io.BytesIO(raw)))
    if raw[:4] == b"\x28\xb5\x2f\xfd":
        return readable(pa.input_stream(io.BytesIO(raw), compression="zstd"))
    return raw


def readable(stream: io.BufferedIOBase | pa.NativeFile) -> bytes:
    """Everything up to the end or to the first damage."""
    parts: list[bytes] = []
    try:
        while part := stream.read(1 << 16):
            parts.append(part)
    except (EOFError, OSError):
        pass
    return b"".join(parts)


# --- records of a file ---------------------------------------------------------------------------


class Written(str):
    """A number with a point or an exponent, as it is written: nothing is rounded on the way."""


class NotFinite:
    """Stands for NaN and the infinities, which JSON does not have."""


class Repeated(list[object]):
    """The values of a key that a record has more than once, in whatever spelling."""


def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
    """An object with lower-case keys."""
    record = {name.lower(): value for name, value in items}
    if len(record) < len(items):
        for name in record:
            values = [value for other, value in items if other.lower() == name]
            record[name] = Repeated(values) if len(values) > 1 else values[0]
    return record


DECODER = json.JSONDecoder(
    object_pairs_hook=pairs, parse_float=Written, parse_constant=lambda _: NotFinite
)


def flaw(value: object) -> str | None:
    """What makes a whole record unfit, wherever in it: a NUL, half a character, no number."""
    if value is NotFinite:
        return "not_finite"
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        return next((found for found in map(flaw, value) if found), None)
    if isinstance(value, str) and "\0" in value:
        return "nul"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "lone_surrogate"
    return None


def records(text: str, columns: tuple[Column, ...]) -> Iterator[dict[str, object] | str]:
    """Objects of a text, whatever stands between them; for what is none the reason."""
    names = {column.name for column in columns}
    at = text.find("{")
    while at >= 0:
        try:
            value, end = DECODER.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            yield "fragment"
            at = next_record(text, at + 1, names)
            continue
        # Bytes that were no UTF-8 are lone surrogates in the text.
        suspect = any(sign in text[at:end] for sign in ("\\u", "NaN", "Infinity"))
        suspect = suspect or not text[at:end].isascii()
        yield (flaw(value) if suspect else None) or value
        at = text.find("{", end)


def next_record(text: str, at: int, names: set[str]) -> int:
    """Place of the next object that names a column of the stream; −1 if there is none."""
    while (at := text.find("{", at)) >= 0:
        try:
            value, _ = DECODER.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            value = {}
        if names & value.keys():
            return at
        at += 1
    return -1


# --- values --------------------------------------------------------------------------------------


NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity)", re.IGNORECASE)


def number(value: object) -> int | str:
    """A number, also one in quotes: an integer, or as it is written."""
    if type(value) is int or isinstance(value, Written):
        return value
    if value is NotFinite or (isinstance(value, str) and NOT_FINITE.fullmatch(value)):
        raise Quarantined("not_finite")
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return value
    raise Quarantined("wrong_type")


def exact(written: int | str) -> Decimal:
    """The number itself."""
    if not str(written).lower().split("e")[0].strip("-0."):
        return Decimal(0)
    try:
        return Decimal(written)
    except InvalidOperation:  # an exponent beyond all measure
        raise Quarantined("out_of_range") from None


def whole(value: object, bits: int) -> int:
    """An integer of so many bits, also one written as 5.0 or 5e0."""
    found = number(value)
    if not isinstance(found, int):
        decimal = exact(found)
        if decimal.adjusted() > 30:
            raise Quarantined("out_of_range")
        if decimal != decimal.to_integral_value():
            raise Quarantined("not_integral")
        found = int(decimal)
    if not -(1 << (bits - 1)) <= found < 1 << (bits - 1):
        raise Quarantined("out_of_range")
    return found


def double(value: object) -> float:
    """A finite double."""
    try:
        finite = float(number(value))
    except OverflowError:
        raise Quarantined("not_finite") from None
    if not math.isfinite(finite):
        raise Quarantined("not_finite")
    return finite


def text(value: object) -> str:
    """A text; of a whole number its digits, of another as it is written."""
    if isinstance(value, str) and not isinstance(value, Written):
        return value
    written = number(value)
    try:
        decimal = exact(written)
    except Quarantined:
        return str(written)
    sign, digits, exponent = decimal.as_tuple()
    stripped = "".join(map(str, digits)).rstrip("0")
    if not stripped:
        return "0"
    exponent += len(digits) - len(stripped)
    if not 0 <= exponent <= 64:
        return str(written)
    return "-" * sign + stripped + "0" * exponent


CONVERT: dict[str, Callable[[object], object]] = {
    "string": text,
    "bigint": lambda value: whole(value, 64),
    "int": lambda value: whole(value, 32),
    "double": double,
}


def row(record: dict[str, object] | str, columns: tuple[Column, ...]) -> list[object]:
    """The record as a row of its landing table."""
    if isinstance(record, str):
        raise Quarantined(record)
    values: list[object] = []
    dates = 0
    for column in columns:
        value = converted(column, record.get(column.name))
        check(column, value)
        dates += column.role == "date" and value is not None
        values.append(value)
    if dates == 0 and columns is CUSTOMER_COLUMNS:
        raise Quarantined("missing_date")
    return values


def converted(column: Column, value: object) -> object:
    """A value as its column holds it; of several, all must say the same."""
    if isinstance(value, Repeated):
        values = [converted(column, single) for single in value if single is not None]
        if any(other != values[0] for other in values):
            raise Quarantined("conflicting_keys")
        return values[0] if values else None
    return None if value is None else CONVERT[column.kind](value)


def check(column: Column, value: object) -> None:
    """The rules for a single value."""
    if column.role == "key" and (value is None or not str(value).strip(" ")):
        raise Quarantined("missing_key")
    if column.role == "time" and value is None:
        raise Quarantined("missing_time")
    if value is None:
        return
    if column.role in ("time", "date", "moment") and not TIME_MIN_MS <= value <= TIME_MAX_MS:
        raise Quarantined("implausible_time")
    if column.role == "distance" and value < 0:
        raise Quarantined("negative_distance")


# --- tables --------------------------------------------------------------------------------------


def load(
    database: duckdb.DuckDBPyConnection, data: list[Path], former: list[Path] | None = None
) -> Loaded:
    """Makes the three landing tables from data folders, delivered one after the other.

    A file of a later folder replaces the one of the same key. Customer records stand until a newer
    one of the same person, so those of replaced files count too, and those of `former` folders,
    whose files were delivered once and are gone.
    """
    loaded = Loaded()
    for stream in STREAMS:
        if stream == "customer":
            folders = [*(former or []), *data]
            paths = [path for folder in folders for path in stream_files(folder, stream).values()]
        else:
            current: dict[str, Path] = {}
            for folder in data:
                current |= stream_files(folder, stream)
            paths = list(current.values())
        fill(database, stream, paths, loaded)
    return loaded


def fill(
    database: duckdb.DuckDBPyConnection, stream: str, paths: list[Path], loaded: Loaded
) -> None:
    """Makes the landing table of one stream."""
    columns = COLUMNS[stream]
    schema = pa.schema([(column.name, ARROW[column.kind]) for column in columns])
    empty = schema.empty_table()
    database.register("batch", empty)
    database.execute(f"create or replace table {stream}_landing as select * from batch")
    for path in paths:
        rows: list[list[object]] = []
        content = file_bytes(path).removeprefix(b"\xef\xbb\xbf")
        for record in records(content.decode("utf-8", "surrogateescape"), columns):
            try:
                rows.append(row(record, columns))
            except Quarantined as reason:
                loaded.quarantined[stream, str(reason)] += 1
        loaded.rows[stream] += len(rows)
        if rows:
            values = list(zip(*rows, strict=True))
            arrays = [pa.array(v, type=f.type) for v, f in zip(values, schema, strict=True)]
            database.register("batch", pa.Table.from_arrays(arrays, schema=schema))
            database.execute(f"insert into {stream}_landing select * from batch")
    database.unregister("batch")
