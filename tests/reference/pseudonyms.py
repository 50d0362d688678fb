"""Compares machine_learning_curated with its pseudonymous form, without knowing the key.

Two tables are the same up to pseudonyms if some one-to-one renaming of people and devices makes
them equal as bags. The renaming is found by refinement: a person's colour is drawn from their rows
and the colours of the devices in them, a device's likewise, until no colour splits further; where
several share a colour, one pair is singled out and the rest refined again. Whatever renaming comes
out is then applied and the bags compared, so a wrong guess can only report a difference, never
hide one.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

COLUMNS = 'serialnumber, sensorreadingtime, distancefromobject, "user", "timestamp", x, y, z'
READING = 'sensorreadingtime, distancefromobject, "timestamp", x, y, z'
KINDS = ("person", "device")
DIGITS = "[0-9a-f]{64}"
SINGLED_OUT_MAX = 500

BagsDiffer = Callable[[duckdb.DuckDBPyConnection, str, str], list[str]]


def compare(
    database: duckdb.DuckDBPyConnection, clear: str, pseudonymous: str, bags_differ: BagsDiffer
) -> list[str]:
    """Differences between a table and its pseudonymous form."""
    malformed = database.execute(
        f'select distinct serialnumber, "user" from {pseudonymous} where not coalesce('
        f"regexp_full_match(serialnumber, '{DIGITS}') and"
        f" regexp_full_match(\"user\", '{DIGITS}'), false) limit 5"
    ).fetchall()
    if malformed:
        return [f"not 64 hexadecimal digits: {row}" for row in malformed]
    database.execute(
        "create or replace temp table clear_rows as select lower(trim(both ' ' from \"user\"))"
        f" as person, serialnumber as device, hash({READING}) as reading, * from {clear}"
    )
    database.execute(
        'create or replace temp table pseudonymous_rows as select "user" as person,'
        f" serialnumber as device, hash({READING}) as reading, * from {pseudonymous}"
    )
    rename(database)
    return bags_differ(
        database,
        f"select person, device, {READING} from clear_rows",
        "select coalesce(p.name, 'nobody ' || r.person), coalesce(d.name, 'none ' || r.device),"
        f" {READING} from pseudonymous_rows r"
        " left join renamed_person p on p.pseudonym = r.person"
        " left join renamed_device d on d.pseudonym = r.device",
    )


def rename(database: duckdb.DuckDBPyConnection) -> None:
    """Makes `renamed_person` and `renamed_device` (pseudonym, name), each one to one."""
    for side in ("clear", "pseudonymous"):
        for kind in KINDS:
            database.execute(
                f"create or replace temp table {side}_{kind} as"
                f" select {kind} as name, 0::hugeint as colour from {side}_rows group by all"
            )
    refine(database)
    for mark in range(1, SINGLED_OUT_MAX + 1):
        if not single_out(database, mark):
            break
        refine(database)
    numbered = "select *, row_number() over (partition by colour order by name) as n"
    for kind in KINDS:
        database.execute(
            f"create or replace temp table renamed_{kind} as"
            " select p.name as pseudonym, c.name"
            f" from ({numbered} from pseudonymous_{kind}) p"
            f" join ({numbered} from clear_{kind}) c using (colour, n)"
        )


def refine(database: duckdb.DuckDBPyConnection) -> None:
    """Splits colours by the rows of their bearers until that splits no further."""
    before = -1
    while (now := colours(database)) > before:
        before = now
        for side in ("clear", "pseudonymous"):
            for kind, other in (KINDS, KINDS[::-1]):
                database.execute(
                    f"create or replace temp table {side}_{kind} as"
                    f" select r.{kind} as name,"
                    "  hash(any_value(mine.colour), sum(hash(r.reading, theirs.colour)::hugeint))"
                    "   ::hugeint as colour"
                    f" from {side}_rows r"
                    f" join {side}_{kind} mine on mine.name = r.{kind}"
                    f" join {side}_{other} theirs on theirs.name = r.{other}"
                    " group by r." + kind
                )


def colours(database: duckdb.DuckDBPyConnection) -> int:
    """How many colours the clear table shows."""
    ((number,),) = database.execute(
        "select (select count(distinct colour) from clear_person)"
        " + (select count(distinct colour) from clear_device)"
    ).fetchall()
    return number


def single_out(database: duckdb.DuckDBPyConnection, mark: int) -> bool:
    """Gives one pair of a colour that several bear a colour of its own; false if none is left."""
    for kind in KINDS:
        pairs = database.execute(
            "select c.name, p.name from"
            f" (select colour, min(name) as name from clear_{kind} group by colour"
            "   having count(*) > 1) c"
            f" join (select colour, min(name) as name from pseudonymous_{kind} group by colour) p"
            " using (colour) order by c.name limit 1"
        ).fetchall()
        if pairs:
            for side, name in zip(("clear", "pseudonymous"), pairs[0], strict=True):
                database.execute(
                    f"update {side}_{kind} set colour = ? where name = ?", [-mark, name]
                )
            return True
    return False
