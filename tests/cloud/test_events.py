"""Every event of `events/` through AWS's Runtime Interface Emulator, against the built binaries.

S3, Glue and Secrets Manager are moto's: no chain is needed, only a bucket named as in the events.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
import urllib.error
from collections.abc import Callable
from pathlib import Path

from deployment import FUNCTIONS, HOUSE, Emulated, bootstrap
from standins import CREDENTIALS, Moto, client

NOON = 1_655_564_400_000
DAY = "reading_date=2022-06-18"
DONE = {"batchItemFailures": []}
CUSTOMER = {
    "email": "ann@example.com",
    "serialNumber": "d1",
    "registrationDate": NOON,
    "lastUpdateDate": NOON,
    "shareWithResearchAsOfDate": NOON,
}
LANDED = {
    "landing/customer/2026/a b+c é.json": CUSTOMER,
    "landing/accelerometer/2026/a b+c é.json": {
        "user": "Ann@example.com",
        "timeStamp": NOON,
        "x": 1.0,
        "y": 2.0,
        "z": 3.0,
    },
    "landing/step_trainer/2026/a b+c é.json": {
        "sensorReadingTime": NOON,
        "serialNumber": "d1",
        "distanceFromObject": 7,
    },
}
# What comes of it in a lake of one part: the source in a name is a hash of the landing key.
DERIVED = {
    "customer_trusted": "trusted/customer/part-00.parquet",
    "accelerometer_trusted": f"trusted/accelerometer/{DAY}/{NOON}-{NOON}-6a7d4668058349a1.parquet",
    "customer_curated": "curated/customer/part-00.parquet",
    "step_trainer_trusted": f"trusted/step_trainer/{DAY}/{NOON}-{NOON}-306fd24b8c397d9b.parquet",
    "machine_learning_curated": (
        f"curated/machine_learning/{DAY}/{NOON}-{NOON}-306fd24b8c397d9b.parquet"
    ),
}
READINGS = ("accelerometer_trusted", "step_trainer_trusted", "machine_learning_curated")
LANDING_TABLES = ("customer_landing", "accelerometer_landing", "step_trainer_landing")
CREATED = (
    "s3_put",
    "s3_put_two_records",
    "eventbridge_created",
    "sqs_eventbridge",
    "sqs_s3",
    "sqs_sns_s3",
)
DELETED = ("s3_delete", "eventbridge_deleted")
SCHEDULED = ("schedule", "sqs_schedule")
QUIET = ("s3_test_event",)


def event_of(function: str, name: str) -> bytes:
    """An event of a function."""
    return (HOUSE / "events" / function / f"{name}.json").read_bytes()


def names_of(function: str) -> list[str]:
    """The events a function has."""
    return sorted(path.stem for path in (HOUSE / "events" / function).glob("*.json"))


class Lake(unittest.TestCase):
    """A lake in a bucket of moto's, and functions under the emulator."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="stedi-events-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        moto = Moto(self.folder)
        self.addCleanup(moto.kill)
        moto.start()
        moto.wait()
        self.s3 = client("s3", moto.url)
        self.s3.create_bucket(Bucket="lake")
        self.glue = client("glue", moto.url)
        self.glue.create_database(DatabaseInput={"Name": "stedi"})
        self.secrets = client("secretsmanager", moto.url)
        self.secrets.create_secret(Name="key", SecretString="0f" * 32)
        endpoints = ("S3", "GLUE", "SECRETS_MANAGER")
        self.environment = {
            "LAKE_BUCKET": "lake",
            "GLUE_DATABASE": "stedi",
            "PSEUDONYM_KEY_SECRET": "key",
            # So that part-00, which the events name, is everybody's.
            "LAKE_PARTS": "1",
            **{f"AWS_ENDPOINT_URL_{name}": moto.url for name in endpoints},
        }

    def emulate(self, function: str, **changes: str) -> Emulated:
        """Starts a function."""
        emulated = Emulated(function, self.environment | changes, self.folder)
        self.addCleanup(emulated.kill)
        return emulated

    def land(self, *streams: str) -> None:
        """Uploads the landing objects that the events name."""
        for key, record in LANDED.items():
            if not streams or key.split("/")[1] in streams:
                self.s3.put_object(Bucket="lake", Key=key, Body=json.dumps(record).encode())

    def keys(self, *prefixes: str) -> set[str]:
        """The objects below prefixes."""
        found: set[str] = set()
        for prefix in prefixes:
            listed = self.s3.list_objects_v2(Bucket="lake", Prefix=prefix)
            found |= {entry["Key"] for entry in listed.get("Contents", [])}
        return found

    def rows(self, table: str) -> int:
        """How many rows the object of a derived table has."""
        import duckdb

        path = self.folder / "object.parquet"
        self.s3.download_file("lake", DERIVED[table], str(path))
        counted = "select num_rows from parquet_file_metadata($path)"
        return duckdb.execute(counted, {"path": str(path)}).fetchone()[0]

    def tables(self) -> set[str]:
        """The tables of the catalog."""
        return {table["Name"] for table in self.glue.get_tables(DatabaseName="stedi")["TableList"]}

    def partitions(self, table: str) -> list[list[str]]:
        """The partitions of a table."""
        found = self.glue.get_partitions(DatabaseName="stedi", TableName=table)["Partitions"]
        return [partition["Values"] for partition in found]


class Events(Lake):
    """What is sent is understood, and does what it says."""

    def test_every_event_is_answered_whatever_the_lake_holds(self) -> None:
        answered = 0
        for filled in (False, True):
            if filled:
                self.land()
            for function in FUNCTIONS:
                emulated = self.emulate(function)
                for name in names_of(function):
                    with self.subTest(function=function, event=name, filled=filled):
                        answer = emulated.invoke(event_of(function, name))
                        self.assertEqual(answer, DONE, emulated.log[-2000:])
                        answered += 1
                emulated.kill()
        self.assertEqual(answered, 2 * (6 * 11 + 1))

    def run_chain(self, name: str) -> None:
        """Has every function, in the order of the chain, handle its event of that name."""
        for function in FUNCTIONS:
            emulated = self.emulate(function)
            answer = emulated.invoke(event_of(function, name))
            self.assertEqual(answer, DONE, f"{function}: {emulated.log[-2000:]}")
            emulated.kill()

    def check_derived(self) -> None:
        """The objects with their rows, the tables and the partitions; and nothing else."""
        derived = self.keys("trusted/", "curated/", "quarantine/")
        self.assertEqual(derived, set(DERIVED.values()), "and nothing of a stranger's")
        for table in DERIVED:
            self.assertEqual(self.rows(table), 1, table)
        self.assertEqual(self.tables(), {*DERIVED, *LANDING_TABLES})
        for table in READINGS:
            self.assertEqual(self.partitions(table), [["2022-06-18"]], table)

    def forget(self) -> None:
        """Empties bucket and catalog."""
        for key in self.keys(""):
            self.s3.delete_object(Bucket="lake", Key=key)
        for table in self.tables():
            self.glue.delete_table(DatabaseName="stedi", Name=table)

    def test_each_envelope_by_itself_derives_the_tables(self) -> None:
        for name in (*CREATED, *SCHEDULED):
            with self.subTest(event=name):
                self.land()
                self.run_chain(name)
                self.check_derived()
            self.forget()

    def test_what_is_about_nothing_derives_nothing(self) -> None:
        for name in QUIET:
            self.land()
            self.run_chain(name)
            self.assertEqual(self.keys("trusted/", "curated/", "quarantine/"), set())

    def test_each_deletion_takes_the_readings_back(self) -> None:
        for name in DELETED:
            with self.subTest(event=name):
                self.land()
                self.run_chain("s3_put")
                self.check_derived()
                for stream in ("accelerometer", "step_trainer"):
                    key = f"landing/{stream}/2026/a b+c é.json"
                    self.s3.delete_object(Bucket="lake", Key=key)
                self.run_chain(name)
                for table in READINGS:
                    self.assertEqual(self.rows(table), 0, table)
                    self.assertEqual(self.partitions(table), [], table)
                self.assertEqual(self.rows("customer_trusted"), 1, "outlives its file")
            self.forget()

    def test_the_policies_of_the_environment_are_adopted(self) -> None:
        function = "customer_landing_to_trusted"
        self.land("customer")
        former = self.emulate(function)
        self.assertEqual(former.invoke(event_of(function, "s3_put")), DONE)
        former.kill()
        emulated = self.emulate(function, CONSENT="as-of")
        refused = emulated.invoke(event_of(function, "s3_put"))
        self.assertIn("consent=any", refused["errorMessage"])
        self.assertEqual(emulated.invoke(event_of(function, "adopt_policies")), DONE)
        self.assertEqual(emulated.invoke(event_of(function, "s3_put")), DONE)

    def test_metrics_are_printed_with_units(self) -> None:
        emulated = self.emulate("customer_landing_to_trusted")
        emulated.invoke(event_of("customer_landing_to_trusted", "s3_put"))
        documents = [
            json.loads(line)
            for line in emulated.log.splitlines()
            if line.startswith('{"Conflicts"')
        ]
        self.assertEqual(len(documents), 1, emulated.log[-2000:])
        for metric in documents[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            self.assertIn(metric["Unit"], ("Count", "Bytes", "Milliseconds"))
            self.assertIsInstance(documents[0][metric["Name"]], int)


class Wrong(Lake):
    """What is wrong is refused with its reason, and nothing else is."""

    FUNCTION = "accelerometer_landing_to_trusted"

    def test_what_is_no_event_is_refused_with_its_reason(self) -> None:
        emulated = self.emulate(self.FUNCTION)
        put = event_of(self.FUNCTION, "s3_put")
        unencoded = put.replace(b"%C3%A9", b"%FF")
        no_key = put.replace(b'"key":', b'"kay":')
        wrong = {
            b"": "failed to deserialize",
            b"{": "failed to deserialize",
            put[:-5]: "failed to deserialize",
            b"null": "no Records, no detail, no Message",
            b"{}": "no Records, no detail, no Message",
            b"[1]": "no Records, no detail, no Message",
            b'{"detail": {}}': "no bucket.name",
            no_key: "a record has no s3.object.key",
            unencoded: "not form-encoded UTF-8",
        }
        for event, reason in wrong.items():
            with self.subTest(event=event[:40]):
                self.assertIn(reason, emulated.invoke(event).get("errorMessage", ""))
        self.assertEqual(emulated.invoke(put), DONE, "it goes on")

    def test_an_event_of_another_bucket_names_both(self) -> None:
        emulated = self.emulate(self.FUNCTION)
        said = 'event: the bucket is "theirs", the lake is in "lake"'
        for name in ("s3_put", "eventbridge_created"):
            event = event_of(self.FUNCTION, name).replace(b'"name": "lake"', b'"name": "theirs"')
            self.assertEqual(emulated.invoke(event).get("errorMessage"), said, name)
        batch = json.loads(event_of(self.FUNCTION, "sqs_eventbridge"))
        first = batch["Records"][0]
        first["body"] = first["body"].replace('"name": "lake"', '"name": "theirs"')
        failed = [{"itemIdentifier": first["messageId"]}]
        self.assertEqual(emulated.invoke(batch), {"batchItemFailures": failed})
        logged = said.replace('"', '\\"')
        self.assertGreaterEqual(emulated.log.count(logged), 3, "it is in the log, too")

    def test_one_bad_message_does_not_hold_its_neighbours(self) -> None:
        self.land()
        for body in ("{", "", "null", '{"Records": [{"s3": {}}]}', 5):
            with self.subTest(body=body):
                emulated = self.emulate(self.FUNCTION)
                good = json.loads(event_of(self.FUNCTION, "sqs_s3"))["Records"][0]
                batch = [
                    {**good, "messageId": "one"},
                    {**good, "messageId": "two", "body": body},
                    {**good, "messageId": "three"},
                ]
                failed = {"batchItemFailures": [{"itemIdentifier": "two"}]}
                self.assertEqual(emulated.invoke({"Records": batch}), failed)
                self.assertEqual(self.keys("trusted/"), {DERIVED["accelerometer_trusted"]})
                emulated.kill()
            self.s3.delete_object(Bucket="lake", Key=DERIVED["accelerometer_trusted"])

    def test_a_wrong_environment_ends_the_process_at_its_start(self) -> None:
        def without(name: str) -> Callable[[dict[str, str]], None]:
            return lambda environment: environment.pop(name)

        def given(**changes: str) -> Callable[[dict[str, str]], None]:
            return lambda environment: environment.update(changes)

        for change, said in (
            (without("LAKE_BUCKET"), ["LAKE_BUCKET is not set: want the name of"]),
            (given(LAKE_BUCKET=""), ["LAKE_BUCKET is not set"]),
            (without("GLUE_DATABASE"), ["GLUE_DATABASE is not set"]),
            (without("PSEUDONYM_KEY_SECRET"), ["PSEUDONYM_KEY_SECRET is not set"]),
            (given(CONSENT="maybe"), ['CONSENT is "maybe": want one of any, as-of']),
            (given(PAIRING="x"), ['PAIRING is "x": want one of timestamp, customer']),
            (
                given(LAKE_PARTS="3", IDENTITY="x"),
                [
                    'LAKE_PARTS is "3": want a power of two from 1 to 32768',
                    'IDENTITY is "x": want one of pseudonym, none, clear',
                ],
            ),
        ):
            environment = {"PATH": os.environ["PATH"], **CREDENTIALS, **self.environment}
            change(environment)
            for function in FUNCTIONS:
                with self.subTest(function=function, said=said):
                    done = subprocess.run(
                        bootstrap(function),
                        env=environment | {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"},
                        capture_output=True,
                        text=True,
                        timeout=30,
                    )
                    self.assertEqual(done.returncode, 1, done.stderr)
                    (line,) = done.stdout.splitlines()
                    logged = json.loads(line)
                    self.assertEqual((logged["level"], logged["function"]), ("ERROR", function))
                    for words in said:
                        self.assertIn(words, logged["message"])

    def test_a_wrong_environment_is_in_the_log_of_an_invocation(self) -> None:
        emulated = self.emulate(self.FUNCTION, CONSENT="maybe")
        with self.assertRaises(urllib.error.HTTPError) as raised:
            emulated.invoke(event_of(self.FUNCTION, "s3_put"))
        raised.exception.close()
        self.assertIn('CONSENT is \\"maybe\\": want one of any, as-of', emulated.log)
        self.assertIn("Runtime exited with error: exit status 1", emulated.log)

    def test_a_lake_that_cannot_be_opened_is_tried_again(self) -> None:
        event = event_of("machine_learning_curated", "s3_put")
        emulated = self.emulate("machine_learning_curated", PSEUDONYM_KEY_SECRET="not-there-yet")
        self.assertIn("read the secret not-there-yet", emulated.invoke(event)["errorMessage"])
        self.secrets.create_secret(Name="not-there-yet", SecretString="short")
        self.assertIn("is no key", emulated.invoke(event)["errorMessage"])
        self.secrets.put_secret_value(SecretId="not-there-yet", SecretString="0f" * 32)
        self.assertEqual(emulated.invoke(event), DONE)

    def test_a_bucket_that_is_not_there_is_named(self) -> None:
        event = event_of(self.FUNCTION, "s3_put").replace(b'"name": "lake"', b'"name": "gone"')
        emulated = self.emulate(self.FUNCTION, LAKE_BUCKET="gone")
        answer = emulated.invoke(event)
        self.assertIn("NoSuchBucket", answer.get("errorMessage", ""), answer)
        self.s3.create_bucket(Bucket="gone")
        self.assertEqual(emulated.invoke(event), DONE)


if __name__ == "__main__":
    unittest.main()
