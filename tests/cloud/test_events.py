"""Every event of `events/` through AWS's Runtime Interface Emulator, against the built binaries.

S3, Glue and Secrets Manager are moto's: no chain is needed, only a bucket named as in the events.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from deployment import FUNCTIONS, HOUSE, Emulated, bootstrap
from standins import CREDENTIALS, StandIns

NOON = 1_655_564_400_000
DONE = {"batchItemFailures": []}
LANDED = {
    "landing/customer/2026/a b+c é.json": {
        "email": "ann@example.com",
        "serialNumber": "d1",
        "registrationDate": NOON,
        "lastUpdateDate": NOON,
        "shareWithResearchAsOfDate": NOON,
    },
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


def events_of(function: str) -> dict[str, bytes]:
    """The events of a function, by name."""
    paths = sorted((HOUSE / "events" / function).glob("*.json"))
    return {path.stem: path.read_bytes() for path in paths}


class Events(unittest.TestCase):
    """A lake in a bucket of moto's, and functions under the emulator."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="stedi-events-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.standins = StandIns(self.folder)
        moto = self.standins.servers[1]
        self.addCleanup(moto.kill)
        moto.start()
        moto.wait()
        self.standins.localstack = self.standins.moto
        self.s3 = self.standins.client("s3")
        self.s3.create_bucket(Bucket="lake")
        self.glue = self.standins.client("glue")
        self.glue.create_database(DatabaseInput={"Name": "stedi"})
        secrets = self.standins.client("secretsmanager")
        secrets.create_secret(Name="key", SecretString="0f" * 32)
        endpoints = ("S3", "GLUE", "SECRETS_MANAGER")
        self.environment = {
            "LAKE_BUCKET": "lake",
            "GLUE_DATABASE": "stedi",
            "PSEUDONYM_KEY_SECRET": "key",
            **{f"AWS_ENDPOINT_URL_{name}": self.standins.moto for name in endpoints},
        }

    def emulate(self, function: str, **changes: str) -> Emulated:
        """Starts a function."""
        emulated = Emulated(function, self.environment | changes, self.folder)
        self.addCleanup(emulated.kill)
        return emulated

    def keys(self, prefix: str) -> list[str]:
        """The objects below a prefix."""
        found = self.s3.list_objects_v2(Bucket="lake", Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def test_every_envelope(self) -> None:
        for key, record in LANDED.items():
            self.s3.put_object(Bucket="lake", Key=key, Body=json.dumps(record).encode())
        for function in FUNCTIONS:
            emulated = self.emulate(function)
            for name, event in events_of(function).items():
                with self.subTest(function=function, event=name):
                    self.assertEqual(emulated.invoke(event), DONE, emulated.log[-2000:])
        # customer_curated comes after the readings, and wakes the step trainer's function.
        for function in FUNCTIONS[2:]:
            emulated = self.emulate(function)
            self.assertEqual(emulated.invoke(events_of(function)["schedule"]), DONE)
        for zone in (
            "trusted/customer/",
            "trusted/accelerometer/reading_date=2022-06-18/",
            "curated/customer/",
            "trusted/step_trainer/reading_date=2022-06-18/",
            "curated/machine_learning/reading_date=2022-06-18/",
        ):
            self.assertTrue(self.keys(zone), zone)
        tables = self.glue.get_tables(DatabaseName="stedi")["TableList"]
        self.assertEqual(len(tables), 8)
        partitions = self.glue.get_partitions(
            DatabaseName="stedi", TableName="machine_learning_curated"
        )
        self.assertEqual([p["Values"] for p in partitions["Partitions"]], [["2022-06-18"]])

    def test_metrics_are_printed_with_units(self) -> None:
        emulated = self.emulate("customer_landing_to_trusted")
        emulated.invoke(events_of("customer_landing_to_trusted")["s3_put"])
        documents = [
            json.loads(line)
            for line in emulated.log.splitlines()
            if line.startswith('{"Conflicts"')
        ]
        self.assertEqual(len(documents), 1, emulated.log[-2000:])
        for metric in documents[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            self.assertIn(metric["Unit"], ("Count", "Bytes", "Milliseconds"))
            self.assertIsInstance(documents[0][metric["Name"]], int)

    def test_what_is_no_event_is_refused_with_its_reason(self) -> None:
        emulated = self.emulate("accelerometer_landing_to_trusted")
        put = events_of("accelerometer_landing_to_trusted")["s3_put"]
        other = put.replace(b'"name": "lake"', b'"name": "theirs"')
        wrong = {b"{}": "no Records", b"[1]": "no Records", other: "theirs"}
        for event, reason in wrong.items():
            answer = emulated.invoke(event)
            self.assertIn(reason, answer.get("errorMessage", ""), answer)
        self.assertEqual(emulated.invoke(put), DONE, "it goes on")

    def test_one_bad_message_does_not_hold_its_neighbours(self) -> None:
        emulated = self.emulate("accelerometer_landing_to_trusted")
        event = json.loads(events_of("accelerometer_landing_to_trusted")["sqs_s3"])
        good = event["Records"][0]
        event["Records"] = [
            {**good, "messageId": "one"},
            {**good, "messageId": "two", "body": "{"},
            {**good, "messageId": "three"},
        ]
        self.assertEqual(emulated.invoke(event), {"batchItemFailures": [{"itemIdentifier": "two"}]})

    def test_a_wrong_environment_ends_the_process_at_its_start(self) -> None:
        for changes, said in (
            ({"LAKE_BUCKET": ""}, ["LAKE_BUCKET is not set"]),
            ({"CONSENT": "maybe"}, ["CONSENT is", "any, as-of"]),
            ({"LAKE_PARTS": "3", "IDENTITY": "x"}, ["LAKE_PARTS", "pseudonym, none, clear"]),
        ):
            done = subprocess.run(
                [bootstrap("machine_learning_curated")],
                env={
                    "PATH": os.environ["PATH"],
                    **CREDENTIALS,
                    **self.environment,
                    **changes,
                    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
                },
                capture_output=True,
                text=True,
                timeout=30,
            )
            self.assertNotEqual(done.returncode, 0)
            for words in said:
                self.assertIn(words, done.stdout)

    def test_a_lake_that_cannot_be_opened_is_tried_again(self) -> None:
        event = events_of("machine_learning_curated")["s3_put"]
        emulated = self.emulate("machine_learning_curated", PSEUDONYM_KEY_SECRET="not-there-yet")
        answer = emulated.invoke(event)
        self.assertIn("read the secret not-there-yet", answer["errorMessage"])
        secrets = self.standins.client("secretsmanager")
        secrets.create_secret(Name="not-there-yet", SecretString="short")
        self.assertIn("is no key", emulated.invoke(event)["errorMessage"])
        secrets.put_secret_value(SecretId="not-there-yet", SecretString="0f" * 32)
        time.sleep(0.1)
        self.assertEqual(emulated.invoke(event), DONE)


if __name__ == "__main__":
    unittest.main()
