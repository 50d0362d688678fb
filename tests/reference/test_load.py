"""What the loader makes of the forms a feed comes in."""

from __future__ import annotations

import gzip
import tempfile
import unittest
from pathlib import Path

import duckdb

from load import Loaded, load

AT = 1_655_564_444_103
STEP = f'{{"sensorReadingTime":{AT},"serialNumber":"a","distanceFromObject":%s}}'
ROW = (AT, "a", 7)


def loaded(*contents: bytes, stream: str = "step_trainer") -> tuple[list[tuple], Loaded]:
    """Rows of a stream delivered as these files, and the loader's counts."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        for number, content in enumerate(contents):
            path = Path(folder) / "landing" / stream / "nested" / f"{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        counts = load(database, [Path(folder)])
        return database.execute(f"select * from {stream}_landing").fetchall(), counts


class Forms(unittest.TestCase):
    def rows(self, content: str | bytes) -> list[tuple]:
        raw = content.encode() if isinstance(content, str) else content
        return sorted(loaded(raw)[0])

    def test_objects_stand_in_lines_next_to_each_other_or_in_an_array(self) -> None:
        one, two = STEP % 7, STEP % 8
        for content in (
            f"{one}\n{two}\n",
            f"{one}{two}",
            f"{one},\n{two}",
            f"[{one}, {two}]",
            f"\ufeff{one}\r\n{two}",
            gzip.compress(f"{one}\n{two}".encode()),
        ):
            self.assertEqual(self.rows(content), [ROW, (AT, "a", 8)], content)

    def test_damage_costs_its_own_record_only(self) -> None:
        cut = (STEP % 9)[:-5]
        for content in (f"{cut}{STEP % 7}", f"{STEP % 7}{cut}", f"}}]x{STEP % 7}"):
            self.assertEqual(self.rows(content), [ROW], content)
        damaged = gzip.compress((STEP % 7 + "\n").encode() * 10_000)[:-9]
        self.assertGreater(len(self.rows(damaged)), 9_000)

    def test_keys_match_in_any_case_and_numbers_however_written(self) -> None:
        for content in (
            f'{{"SENSORREADINGTIME":{AT}.0,"serialnumber":"a","distancefromobject":"7"}}',
            f'{{"distanceFromObject":7e0,"serialNumber":"a","new":[{{}}],"sensorReadingTime":"{AT}"}}',
        ):
            self.assertEqual(self.rows(content), [ROW], content)

    def test_what_no_column_takes_is_left_out(self) -> None:
        for distance in ("1.5", "3000000000", "NaN", "true", '"far"', "-1", "{}"):
            self.assertEqual(self.rows(STEP % distance), [], distance)
        for content in (
            '{"sensorReadingTime":1,"serialNumber":"a"}',
            f'{{"sensorReadingTime":{AT}}}',
            f'{{"sensorReadingTime":{AT},"serialNumber":" "}}',
            f'{{"sensorReadingTime":{AT},"serialNumber":"a\\u0000"}}',
            f'{{"sensorReadingTime":{AT},"serialNumber":"a","note":"\\ud800"}}',
            f'{{"sensorReadingTime":{AT},"serialNumber":"a","note":[NaN]}}',
            f'{{"sensorReadingTime":{AT},"serialNumber":"\xff"}}'.encode("latin-1"),
            '{"serialNumber":"a"}',
            f'{{"sensorReadingTime":{AT},"sensorreadingtime":{AT + 1},"serialNumber":"a"}}',
        ):
            self.assertEqual(self.rows(content), [], content)
        self.assertEqual(self.rows(STEP % "null"), [(AT, "a", None)])

    def test_a_key_given_twice_must_say_the_same(self) -> None:
        for again, rows in (("7", [ROW]), ('"7.0"', [ROW]), ("null", [ROW]), ("8", [])):
            content = (STEP % "7")[:-1] + f',"distancefromobject":{again}}}'
            self.assertEqual(self.rows(content), rows, content)

    def test_numbers_are_held_exactly(self) -> None:
        for written, held in (
            ("2147483647.0", 2147483647),
            ("0e999999999999999999999", 0),
            ("-0", 0),
        ):
            self.assertEqual(self.rows(STEP % written), [(AT, "a", held)], written)
        for written, held in (
            ("8015551212", "8015551212"),
            ("8.015551212e9", "8015551212"),
            ("1.50", "1.50"),
        ):
            record = f'{{"email":"a@b","phone":{written},"lastUpdateDate":{AT}}}'
            self.assertEqual(loaded(record.encode(), stream="customer")[0][0][2], held)

    def test_customers_need_one_of_two_dates_and_may_lack_a_device(self) -> None:
        for dates, rows in (
            ("", 0),
            (f',"lastUpdateDate":{AT}', 1),
            (f',"registrationDate":{AT}', 1),
        ):
            record = f'{{"email":"a@b","phone":8015551212.0{dates}}}'
            found, counts = loaded(record.encode(), stream="customer")
            self.assertEqual(len(found), rows)
            self.assertEqual(sum(counts.quarantined.values()), 1 - rows)
            if found:
                self.assertEqual((found[0][2], found[0][4]), ("8015551212", None))

    def test_readings_are_replaced_and_customers_add_up(self) -> None:
        customer = f'{{"email":"a@b","lastUpdateDate":{AT}}}'
        with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
            first, second = Path(folder) / "1", Path(folder) / "2"
            for data in (first, second):
                for stream, text in (("customer", customer), ("step_trainer", STEP % 7)):
                    path = data / stream / "landing" / "same.json"
                    path.parent.mkdir(parents=True)
                    path.write_text(text, encoding="utf-8")
            counts = load(database, [first, second])
            self.assertEqual(dict(counts.rows), {"customer": 2, "step_trainer": 1})
            self.assertEqual(load(database, [first], former=[second]).rows["customer"], 2)


if __name__ == "__main__":
    unittest.main()
