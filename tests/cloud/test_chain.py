"""The chain as it is deployed: template.yaml on stand-ins, the built binaries behind its queues.

At rest the tables in S3, and the tables and partitions in Glue, equal the reference; and every call
that was made on the way is one that the template's roles allow.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from deployment import FUNCTIONS, HOUSE, Deployment, infra
from proxy import Call, Trouble
from standins import StandIns

sys.path.insert(0, str(HOUSE / "tests" / "reference"))

import tiny
from compare import compare
from derive import TABLES
from load import STREAMS, stream_files

DATA = os.environ.get("STEDI_DATA")
LANDING_TABLES = [f"{stream}_landing" for stream in STREAMS]

# What was called in any test, by function: for the proof that nothing is granted in vain.
S3_CALLS: dict[str, set[Call]] = {function: set() for function in FUNCTIONS}
GLUE_CALLS: dict[str, set[tuple[str, str]]] = {function: set() for function in FUNCTIONS}
SECRET_CALLS: dict[str, set[str]] = {function: set() for function in FUNCTIONS}

STANDINS: StandIns
FOLDER: tempfile.TemporaryDirectory


def setUpModule() -> None:
    """Starts the stand-ins."""
    global STANDINS, FOLDER
    FOLDER = tempfile.TemporaryDirectory(prefix="stedi-standins-")
    STANDINS = StandIns(Path(FOLDER.name))
    STANDINS.start()


def tearDownModule() -> None:
    """Ends them."""
    STANDINS.stop()
    FOLDER.cleanup()


def load_tests(loader: unittest.TestLoader, *_: object) -> unittest.TestSuite:
    """The permissions come last: they are held against the calls of all others."""
    suite = unittest.TestSuite()
    for case in (Chain, Withdrawal, Permissions):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class Deployed(unittest.TestCase):
    """A test with a deployment of its own."""

    def deploy(self, **parameters: str) -> Deployment:
        """Deploys the template with the parameters of `dev` and these."""
        deployment = Deployment(STANDINS, parameters)
        self.addCleanup(self.remember, deployment)
        return deployment

    def remember(self, deployment: Deployment) -> None:
        """Keeps the calls of a deployment, and ends it."""
        deployment.stop_polling()
        for function, proxy in deployment.proxies.items():
            for call, _ in proxy.calls:
                named = call.resource.replace(deployment.bucket, "lake", 1)
                S3_CALLS[function].add(Call(call.action, named, call.context))
            for action, body, _ in proxy.glue_calls:
                table = json.loads(body.replace(deployment.database, "catalog"))
                name = table.get("TableName") or table.get("Name") or table["TableInput"]["Name"]
                GLUE_CALLS[function].add((action, name))
            SECRET_CALLS[function] |= proxy.secret_calls
        deployment.close()

    def upload(self, deployment: Deployment, data: Path, *streams: str) -> None:
        """Uploads the files of a data folder, readings first: they wait for their customers."""
        for stream in streams or reversed(STREAMS):
            for name, path in stream_files(data, stream).items():
                deployment.upload(f"landing/{stream}/{name}", path.read_bytes())

    def check(self, deployment: Deployment, data: list[Path], **former: list[Path]) -> None:
        """Compares tables, catalog and dead letters with what they should be."""
        deployment.come_to_rest()
        p = deployment.parameters
        policies = (p["Consent"], p["Pairing"], p["Identity"])
        lake = deployment.download()
        report = compare(data, lake, *policies, **former)
        self.assertFalse(report.differences, f"{report}\n{deployment.complaints()}")
        self.check_catalog(deployment, lake)
        for name, url in deployment.names.items():
            if name.endswith("DeadLetters"):
                found = deployment.sqs.receive_message(QueueUrl=url)
                self.assertNotIn("Messages", found, name)

    def check_catalog(self, deployment: Deployment, lake: Path) -> None:
        """The tables, and as partitions the days that have rows."""
        import duckdb

        database = {"DatabaseName": deployment.database}
        tables = {t["Name"]: t for t in deployment.glue.get_tables(**database)["TableList"]}
        self.assertEqual(sorted(tables), sorted([*LANDING_TABLES, *TABLES]))
        for name, table in tables.items():
            location = table["StorageDescriptor"]["Location"]
            self.assertTrue(location.startswith(f"s3://{deployment.bucket}/"), location)
            columns = table["StorageDescriptor"]["Columns"]
            self.assertTrue(all(column["Comment"] for column in columns), name)
            personal = {
                c["Name"] for c in columns if (c.get("Parameters") or {}).get("personal_data")
            }
            self.assertEqual("email" in personal, "customer" in name, name)
        for name, (folder, _, time_column) in TABLES.items():
            found = deployment.glue.get_partitions(**database, TableName=name)["Partitions"]
            days = {}
            for path in (lake / folder).rglob("*.parquet") if time_column else ():
                day = path.parent.name.removeprefix("reading_date=")
                rows = duckdb.execute(
                    "select num_rows from parquet_file_metadata($path)", {"path": str(path)}
                ).fetchone()[0]
                days[day] = days.get(day, 0) + rows
            wanted = sorted(day for day, rows in days.items() if rows)
            self.assertEqual(sorted(p["Values"][0] for p in found), wanted, name)
            for partition in found:
                location = partition["StorageDescriptor"]["Location"]
                day = partition["Values"][0]
                self.assertEqual(location, f"s3://{deployment.bucket}/{folder}/reading_date={day}/")

    def make(self, seed: int) -> Path:
        """A small data folder."""
        temporary = tempfile.TemporaryDirectory(prefix="stedi-data-")
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)
        tiny.write(folder, seed)
        return folder


class Chain(Deployed):
    """Uploads come to rest as the reference has it."""

    @unittest.skipUnless(DATA, "STEDI_DATA is not set")
    def test_the_real_data(self) -> None:
        data = Path(DATA) / "stedi"
        deployment = self.deploy()
        deployment.poll()
        self.upload(deployment, data)
        self.check(deployment, [data])
        before = {
            entry["Key"]: (entry["ETag"], entry["LastModified"])
            for entry in deployment.s3.list_objects_v2(Bucket=deployment.bucket, Prefix="trusted/")[
                "Contents"
            ]
        }
        self.upload(deployment, data)
        self.check(deployment, [data])
        after = {
            entry["Key"]: (entry["ETag"], entry["LastModified"])
            for entry in deployment.s3.list_objects_v2(Bucket=deployment.bucket, Prefix="trusted/")[
                "Contents"
            ]
        }
        self.assertEqual(after, before, "uploading the same again writes nothing")

    def test_every_message_twice_and_in_another_order(self) -> None:
        data = self.make(1)
        policies = {"Consent": "as-of", "Pairing": "customer", "Identity": "clear"}
        deployment = self.deploy(**policies)
        self.upload(deployment, data)
        deployment.poll(random.Random(1), twice=True)
        self.check(deployment, [data])

    def test_services_that_throttle_and_lose_answers(self) -> None:
        data = self.make(2)
        deployment = self.deploy(Identity="none")
        for seed, proxy in enumerate(deployment.proxies.values()):
            proxy.trouble = Trouble(slow_down=5, lost_answer=3, luck=random.Random(seed))
        self.upload(deployment, data)
        deployment.poll(random.Random(2))
        self.check(deployment, [data])

    def test_functions_killed_in_the_middle_of_their_work(self) -> None:
        data = self.make(3)
        deployment = self.deploy()
        stop = threading.Event()
        luck = random.Random(3)
        kills = 0

        def kill_at_random() -> None:
            nonlocal kills
            while not stop.wait(luck.uniform(0.3, 1.2)):
                victim = luck.choice(list(deployment.functions.values()))
                if victim.lock.locked():
                    victim.kill()
                    victim.start()
                    kills += 1

        killer = threading.Thread(target=kill_at_random)
        deployment.poll(random.Random(3), twice=True)
        killer.start()
        try:
            for _ in range(3):
                self.upload(deployment, data)
                time.sleep(2)
        finally:
            stop.set()
            killer.join()
        self.assertGreater(kills, 0, "nothing was killed")
        self.check(deployment, [data])

    def test_a_message_that_cannot_be_understood_holds_nobody_up(self) -> None:
        deployment = self.deploy()
        data = self.make(4)
        for function in FUNCTIONS:
            deployment.sqs.send_message(QueueUrl=deployment.queue(function), MessageBody='{"a": 1}')
        self.upload(deployment, data)
        deployment.poll()
        deadline = time.monotonic() + 120
        dead = [url for name, url in deployment.names.items() if name.endswith("DeadLetters")]
        found: set[str] = set()
        while time.monotonic() < deadline and len(found) < len(FUNCTIONS):
            for url in dead:
                received = deployment.sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
                if any(json.loads(m["Body"]) == {"a": 1} for m in received.get("Messages", [])):
                    found.add(url)
        self.assertEqual(len(found), len(FUNCTIONS), "each becomes a dead letter")
        for url in dead:
            deployment.sqs.purge_queue(QueueUrl=url)
        self.check(deployment, [data])


class Withdrawal(Deployed):
    """What changes after the fact."""

    def test_a_withdrawal_a_deletion_and_the_schedule(self) -> None:
        reading = {"timeStamp": tiny.NOON, "x": 1.0, "y": 2.0, "z": 3.0}
        step = {"sensorReadingTime": tiny.NOON, "distanceFromObject": 7}
        people = ("ann@example.com", "bo@example.com")

        def customer(email: str, update_ms: int, since_ms: int | None) -> dict:
            return {
                "customerName": email,
                "email": email,
                "serialNumber": f"device of {email}",
                "registrationDate": tiny.NOON,
                "lastUpdateDate": update_ms,
                "shareWithResearchAsOfDate": since_ms,
            }

        def lines(rows: list[dict]) -> bytes:
            return "".join(json.dumps(row) + "\n" for row in rows).encode()

        deployment = self.deploy()
        readings = {
            "landing/accelerometer/a.json": lines([{"user": p, **reading} for p in people]),
            "landing/step_trainer/s.json": lines(
                [{"serialNumber": f"device of {p}", **step} for p in people]
            ),
            # Keys as people make them.
            "landing/accelerometer/b +c/é&=%41.json": lines([{"user": people[0], **reading}]),
        }
        for key, content in readings.items():
            deployment.upload(key, content)
        consents = lines([customer(p, tiny.NOON, tiny.NOON) for p in people])
        deployment.upload("landing/customer/1.json", consents)
        deployment.poll()
        deployment.come_to_rest()
        self.assertEqual(self.users(deployment), {"ann@example.com", "bo@example.com"})

        deployment.upload(
            "landing/customer/2.json", lines([customer(people[0], tiny.NOON + 1, None)])
        )
        deployment.come_to_rest()
        self.assertEqual(self.users(deployment), {"bo@example.com"})
        self.assertEqual(self.partitions(deployment), 1)

        # A deletion that nobody tells of: its message is lost, and the schedule finds it.
        deployment.stop_polling()
        deployment.s3.delete_object(Bucket=deployment.bucket, Key="landing/accelerometer/a.json")
        time.sleep(3)
        queue = deployment.queue("accelerometer_landing_to_trusted")
        deployment.sqs.purge_queue(QueueUrl=queue)
        scheduled = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
        for function in FUNCTIONS:
            deployment.sqs.send_message(
                QueueUrl=deployment.queue(function), MessageBody=json.dumps(scheduled)
            )
        deployment.poll()
        deployment.come_to_rest()
        self.assertEqual(self.users(deployment), set())
        self.assertEqual(self.partitions(deployment), 0, "a day without rows is no partition")

    def test_a_closed_date_is_compacted_until_it_changes(self) -> None:
        people = ("ann@example.com", "bo@example.com")
        deployment = self.deploy()
        for number, person in enumerate(people):
            reading = {"user": person, "timeStamp": tiny.NOON, "x": 1.0, "y": 2.0, "z": 3.0}
            deployment.upload(f"landing/accelerometer/{number}.json", json.dumps(reading).encode())
            deployment.upload(f"landing/customer/{number}.json", self.consent(person, tiny.NOON))
        deployment.poll()
        deployment.come_to_rest()
        scheduled = {
            "source": "aws.events",
            "detail-type": "Scheduled Event",
            "time": "2100-01-01T00:00:00Z",
            "detail": {},
        }

        def schedule(function: str) -> None:
            deployment.sqs.send_message(
                QueueUrl=deployment.queue(function), MessageBody=json.dumps(scheduled)
            )
            deployment.come_to_rest()

        schedule("readings_compacted")
        self.assertIn("/compacted/accelerometer_trusted/", self.location(deployment))
        self.assertEqual(len(self.copies(deployment)), 1)

        withdrawal = self.consent(people[0], tiny.NOON + 1, None)
        deployment.upload("landing/customer/2.json", withdrawal)
        deployment.come_to_rest()
        self.assertIn("/trusted/accelerometer/", self.location(deployment))
        self.assertEqual(self.copies(deployment), [])

        # A table that is gone has no partitions. A function that starts anew makes it again.
        deployment.glue.delete_table(DatabaseName=deployment.database, Name="accelerometer_trusted")
        schedule("readings_compacted")
        deployment.stop_polling()
        deployment.functions["accelerometer_landing_to_trusted"].kill()
        deployment.functions["accelerometer_landing_to_trusted"].start()
        deployment.poll()
        schedule("accelerometer_landing_to_trusted")
        self.assertIn("/trusted/accelerometer/", self.location(deployment))

    def consent(self, person: str, update_ms: int, since_ms: int | None = tiny.NOON) -> bytes:
        """A customer record."""
        record = {
            "email": person,
            "registrationDate": tiny.NOON,
            "lastUpdateDate": update_ms,
            "shareWithResearchAsOfDate": since_ms,
        }
        return json.dumps(record).encode()

    def location(self, deployment: Deployment) -> str:
        """Where the only partition of accelerometer_trusted leads."""
        (partition,) = deployment.glue.get_partitions(
            DatabaseName=deployment.database, TableName="accelerometer_trusted"
        )["Partitions"]
        return partition["StorageDescriptor"]["Location"]

    def copies(self, deployment: Deployment) -> list[str]:
        """The objects of compacted dates."""
        listed = deployment.s3.list_objects_v2(Bucket=deployment.bucket, Prefix="compacted/")
        return [found["Key"] for found in listed.get("Contents", [])]

    def test_what_is_repaired_replayed_and_redefined(self) -> None:
        data = self.make(6)
        deployment = self.deploy()
        deployment.poll()
        self.upload(deployment, data)
        # Broken in every stream; then repaired, which clears the quarantine.
        for stream in STREAMS:
            deployment.upload(f"landing/{stream}/broken.json", b'{"user": ')
        deployment.come_to_rest()
        self.assertEqual(self.quarantined(deployment, "broken"), sorted(STREAMS))
        for stream in STREAMS:
            deployment.upload(f"landing/{stream}/broken.json", b"")
        deployment.come_to_rest()
        self.assertEqual(self.quarantined(deployment, "broken"), [])
        # Somebody redefines the tables; functions that start anew put that right.
        database = {"DatabaseName": deployment.database}
        for table in deployment.glue.get_tables(**database)["TableList"]:
            kept = ("Name", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters")
            changed = {name: table[name] for name in kept} | {"Description": "mine now"}
            deployment.glue.update_table(**database, TableInput=changed)
        deployment.stop_polling()
        for emulated in deployment.functions.values():
            emulated.kill()
            emulated.start()
        deployment.poll()
        # Replay: markers for the readings, the object itself again for customers.
        markers = []
        for stream in STREAMS:
            for name, path in stream_files(data, stream).items():
                landing = f"landing/{stream}/{name}"
                if stream == "customer":
                    deployment.upload(landing, path.read_bytes())
                else:
                    markers.append(f"replay/by-hand/{landing}")
                    deployment.upload(markers[-1], b"")
        for zone in ("trusted/customer", "trusted/step_trainer"):
            self.touch(deployment, zone)
        self.check(deployment, [data])
        for table in deployment.glue.get_tables(**database)["TableList"]:
            self.assertNotEqual(table["Description"], "mine now", table["Name"])
        for marker in markers:
            found = deployment.s3.list_objects_v2(Bucket=deployment.bucket, Prefix=marker)
            self.assertEqual(found["KeyCount"], 0, f"{marker} is deleted after the work")

    def quarantined(self, deployment: Deployment, name: str) -> list[str]:
        """The streams that have an object of that name in quarantine."""
        pages = deployment.s3.list_objects_v2(Bucket=deployment.bucket, Prefix="quarantine/")
        keys = [entry["Key"] for entry in pages.get("Contents", [])]
        return sorted(key.split("/")[1] for key in keys if name in key)

    def touch(self, deployment: Deployment, zone: str) -> None:
        """Writes the objects of a zone again as they are, for the events of it."""
        bucket = deployment.bucket
        for entry in deployment.s3.list_objects_v2(Bucket=bucket, Prefix=zone)["Contents"]:
            content = deployment.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            deployment.upload(entry["Key"], content)

    def test_other_policies_are_refused_until_they_are_adopted(self) -> None:
        data = self.make(5)
        deployment = self.deploy()
        self.upload(deployment, data)
        deployment.poll()
        self.check(deployment, [data])
        changed = {"Consent": "as-of", "Identity": "clear"}
        deployment.parameters |= changed
        for emulated in deployment.functions.values():
            emulated.kill()
            emulated.environment |= {"CONSENT": "as-of", "IDENTITY": "clear"}
            emulated.start()
        deployment.stop_polling()
        scheduled = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
        for emulated in deployment.functions.values():
            answer = emulated.invoke(scheduled)
            self.assertIn("the lake was derived with consent=any", answer["errorMessage"])
        adopt = {"source": "stedi", "detail-type": "Adopt Policies"}
        deployment.functions["customer_landing_to_trusted"].invoke(adopt)
        deployment.poll()
        for emulated in deployment.functions.values():
            answer = emulated.invoke(scheduled)
            self.assertEqual(answer, {"batchItemFailures": []})
        self.check(deployment, [data])

    def users(self, deployment: Deployment) -> set[str]:
        """Whose readings are trusted."""
        import duckdb

        found = set()
        for entry in deployment.s3.list_objects_v2(
            Bucket=deployment.bucket, Prefix="trusted/accelerometer/"
        ).get("Contents", []):
            path = deployment.folder / "object.parquet"
            deployment.s3.download_file(deployment.bucket, entry["Key"], str(path))
            rows = duckdb.execute('select "user" from read_parquet($p)', {"p": str(path)})
            found |= {user for (user,) in rows.fetchall()}
        return found

    def partitions(self, deployment: Deployment) -> int:
        """How many days of trusted readings the catalog has."""
        found = deployment.glue.get_partitions(
            DatabaseName=deployment.database, TableName="accelerometer_trusted"
        )
        return len(found["Partitions"])


class Permissions(unittest.TestCase):
    """What was called is granted, and what is granted was called."""

    # Granted for what no test here brings about.
    UNUSED = {
        "s3:AbortMultipartUpload": "a write of more than 8 MiB that is refused",
        "kms:Decrypt": "asked by S3, where the bucket has a key of KMS",
        "kms:GenerateDataKey": "asked by S3, where the bucket has a key of KMS",
        "sqs:ReceiveMessage": "called by Lambda, not by the function",
        "sqs:DeleteMessage": "called by Lambda, not by the function",
        "sqs:GetQueueAttributes": "called by Lambda, not by the function",
        "logs:CreateLogStream": "called by Lambda, not by the function",
        "logs:PutLogEvents": "called by Lambda, not by the function",
    }
    # Granted to one function for what no test here brings about.
    UNUSED_BY = {
        (
            "customer_trusted_to_curated",
            "s3:DeleteObject",
        ): "runs of the index of devices, once many",
    }

    def setUp(self) -> None:
        self.resolved = infra.Resolved(
            infra.load(), infra.environment("dev") | {"Pairing": "customer"}
        )

    def glue_resources(self, function: str, action: str, table: str) -> list[str]:
        """The three resources that Glue asks about."""
        base = "arn:aws:glue:us-east-1:123456789012"
        named = self.resolved.ref("Catalog")
        return [f"{base}:catalog", f"{base}:database/{named}", f"{base}:table/{named}/{table}"]

    def test_every_call_is_granted(self) -> None:
        for function in FUNCTIONS:
            self.assertTrue(S3_CALLS[function], f"{function} called nothing")
            for call in S3_CALLS[function]:
                with self.subTest(function=function, call=call):
                    granted = self.resolved.allows(
                        function, call.action, call.resource, **dict(call.context)
                    )
                    self.assertTrue(granted)
            for action, table in GLUE_CALLS[function]:
                for resource in self.glue_resources(function, action, table):
                    with self.subTest(function=function, action=action, resource=resource):
                        self.assertTrue(self.resolved.allows(function, action, resource))
            self.assertEqual(SECRET_CALLS[function], {"GetSecretValue"}, function)

    def test_every_grant_is_used(self) -> None:
        for function in FUNCTIONS:
            used = {call.action for call in S3_CALLS[function]}
            used |= {action for action, _ in GLUE_CALLS[function]}
            used |= {f"secretsmanager:{action}" for action in SECRET_CALLS[function]}
            for statement in self.resolved.statements(function):
                for action in infra.many(statement["Action"]):
                    with self.subTest(function=function, action=action):
                        excused = action in self.UNUSED or (function, action) in self.UNUSED_BY
                        self.assertTrue(action in used or excused, "granted, and never used")

    def test_what_lies_outside_is_denied(self) -> None:
        denied = [
            ("machine_learning_curated", "s3:GetObject", "landing/accelerometer/a.json"),
            ("machine_learning_curated", "s3:GetObject", "landing/customer/a.json"),
            (
                "accelerometer_landing_to_trusted",
                "s3:GetObject",
                "trusted/customer/part-00.parquet",
            ),
            ("accelerometer_landing_to_trusted", "s3:GetObject", "landing/customer/a.json"),
            (
                "accelerometer_landing_to_trusted",
                "s3:GetObject",
                "state/customer/register/part-00.json",
            ),
            ("step_trainer_landing_to_trusted", "s3:PutObject", "trusted/accelerometer/x.parquet"),
            ("customer_trusted_to_curated", "s3:DeleteObject", "trusted/customer/part-00.parquet"),
            ("customer_landing_to_trusted", "s3:PutObject", "landing/customer/a.json"),
            ("readings_compacted", "s3:DeleteObject", "trusted/accelerometer/x.parquet"),
            ("readings_compacted", "s3:PutObject", "curated/machine_learning/x.parquet"),
        ]
        for function, action, key in denied:
            with self.subTest(function=function, action=action, key=key):
                self.assertFalse(self.resolved.allows(function, action, f"arn:aws:s3:::lake/{key}"))


if __name__ == "__main__":
    unittest.main()
