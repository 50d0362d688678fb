"""The SQL, against the same rules in plain loops, on feeds over tiny domains."""

from __future__ import annotations

import tempfile
import unittest
from collections import Counter
from pathlib import Path

import duckdb

import tiny
from derive import CONSENTS, PAIRINGS, TABLES, derive
from load import STREAMS, load

Row = tuple
SEEDS = range(60)


def key(email: str) -> str:
    return email.strip(" ").lower()


def nulls_first(row: Row) -> list[tuple[bool, object]]:
    return [(value is not None, value if value is not None else 0) for value in row]


def newest_first(row: Row) -> tuple:
    registered, updated, research = row[5:8]
    at = updated if updated is not None else registered
    return -at, research is not None, nulls_first(row)


def model(landing: dict[str, list[Row]], consent: str, pairing: str) -> dict[str, list[Row]]:
    """The five tables, by loops."""

    def covers(customer: Row, at: int) -> bool:
        return consent == "any" or at >= customer[7]

    people: dict[str, list[Row]] = {}
    for record in landing["customer"]:
        people.setdefault(key(record[1]), []).append(record)
    newest = {person: min(records, key=newest_first) for person, records in people.items()}
    trusted = {person: record for person, record in newest.items() if record[7] is not None}
    motion = [
        a
        for a in landing["accelerometer"]
        if key(a[0]) in trusted and covers(trusted[key(a[0])], a[1])
    ]
    curated = {p: c for p, c in trusted.items() if any(key(a[0]) == p for a in motion)}
    steps = [
        s
        for s in landing["step_trainer"]
        if any(c[4] == s[1] and covers(c, s[0]) for c in curated.values())
    ]
    pairs = [
        (s[1], s[0], s[2], *a)
        for s in steps
        for a in motion
        if a[1] == s[0]
        and (pairing == "timestamp" or curated.get(key(a[0]), [None] * 5)[4] == s[1])
    ]
    return {
        "customer_trusted": list(trusted.values()),
        "accelerometer_trusted": motion,
        "customer_curated": list(curated.values()),
        "step_trainer_trusted": steps,
        "machine_learning_curated": pairs,
    }


class Rules(unittest.TestCase):
    def test_sql_and_loops_agree(self) -> None:
        seen: Counter[str] = Counter()
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
                tiny.write(Path(folder), seed)
                load(database, [Path(folder)])
                landing = {
                    stream: database.execute(f"select * from {stream}_landing").fetchall()
                    for stream in STREAMS
                }
                for consent in CONSENTS:
                    for pairing in PAIRINGS:
                        seen.update(derive(database, consent, pairing))
                        expected = model(landing, consent, pairing)
                        for table in TABLES:
                            found = database.execute(f"select * from {table}").fetchall()
                            with self.subTest(seed=seed, table=table, policy=(consent, pairing)):
                                self.assertEqual(Counter(found), Counter(expected[table]))
        for table in TABLES:
            self.assertGreater(seen[table], 100, f"{table} is hardly ever filled")


if __name__ == "__main__":
    unittest.main()
