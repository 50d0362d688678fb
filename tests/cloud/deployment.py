"""template.yaml, deployed to the stand-ins, with the built functions behind its queues.

CloudFormation makes the bucket, its notifications, the rules, the queues, their policies and the
secret. What the stand-ins have no service for (Lambda, Glue, Athena, IAM, alarms) is left out of
the template: each function's binary runs under AWS's Runtime Interface Emulator instead, with the
environment that the template gives it, and a poller does what Lambda's event source mapping does.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import shlex
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from proxy import Proxy
from standins import ACCOUNT, CREDENTIALS, REGION, Server, StandIns, free_port

HOUSE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HOUSE / "tests" / "infra"))

import template as infra  # noqa: E402

STACK = "stedi"
KEPT_TYPES = (
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::Events::Rule",
    "AWS::SecretsManager::Secret",
)
REST_SECONDS = 2.0
ATTEMPTS_MAX = 30
FUNCTIONS = (
    "customer_landing_to_trusted",
    "accelerometer_landing_to_trusted",
    "customer_trusted_to_curated",
    "step_trainer_landing_to_trusted",
    "machine_learning_curated",
    "readings_compacted",
)


def emulator() -> str:
    """AWS's Runtime Interface Emulator."""
    return os.environ["STEDI_RIE"]


def bootstrap(function: str) -> list[str]:
    """The binary of a function, as `cargo lambda build` leaves it, behind what runs it."""
    runner = shlex.split(os.environ.get("STEDI_LAMBDA_RUNNER", ""))
    return [*runner, str(Path(os.environ["STEDI_LAMBDA"]) / function / "bootstrap")]


class Emulated:
    """A function under the emulator, one invocation at a time as a sandbox of Lambda has it."""

    def __init__(self, function: str, environment: dict[str, str], folder: Path) -> None:
        self.function = function
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self.folder = folder
        self.environment = environment
        self.address = f"127.0.0.1:{port}"
        self.lock = threading.Lock()
        self.invocations = 0
        self.server: Server | None = None
        self.start()

    def start(self) -> None:
        """Starts the emulator; it starts the function with the first invocation."""
        log = self.folder / f"{self.function}.log"
        command = [
            emulator(),
            *("--runtime-interface-emulator-address", self.address),
            *("--runtime-api-address", f"127.0.0.1:{free_port()}"),
            *bootstrap(self.function),
        ]
        environment = {
            "PATH": os.environ["PATH"],
            **CREDENTIALS,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
            **self.environment,
        }
        self.server = Server(command, log, f"http://{self.address}/", environment, self.folder)
        self.server.start()
        self.server.wait()

    def invoke(self, event: object) -> object:
        """Invokes the function; answers what it answers."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        with self.lock:
            self.invocations += 1
            request = urllib.request.Request(self.url, body, method="POST")
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or b"null")

    def kill(self) -> None:
        """Kills emulator and function, whatever they are at."""
        self.server.kill()

    @property
    def log(self) -> str:
        """What the function printed."""
        return (self.folder / f"{self.function}.log").read_text(errors="replace")


class Deployment:
    """A lake, deployed to the stand-ins."""

    def __init__(
        self, standins: StandIns, parameters: dict[str, str] | None = None, environment: str = "dev"
    ) -> None:
        self.standins = standins
        self.temporary = tempfile.TemporaryDirectory(prefix="stedi-cloud-")
        self.folder = Path(self.temporary.name)
        self.stack = f"{STACK}-{os.urandom(3).hex()}"
        self.written = infra.load()
        self.parameters = infra.environment(environment) | (parameters or {})
        self.resolved = infra.Resolved(self.written, self.parameters)
        self.s3 = standins.client("s3")
        self.sqs = standins.client("sqs")
        self.glue = standins.client("glue")
        self.names = self.deploy()
        self.bucket = self.names["Lake"]
        self.database = self.stack.replace("-", "_")
        self.glue.create_database(DatabaseInput={"Name": self.database})
        self.proxies = {}
        self.functions = {}
        for function in FUNCTIONS:
            proxy = Proxy(standins.localstack, standins.moto, standins.localstack)
            self.proxies[function] = proxy
            self.functions[function] = Emulated(function, self.environment(function), self.folder)
        self.pollers: list[Poller] = []

    def deploy(self) -> dict[str, str]:
        """Has CloudFormation make what it can; answers the physical name of each resource."""
        written = copy.deepcopy(self.written)
        kept = {k: r for k, r in written["Resources"].items() if r["Type"] in KEPT_TYPES}
        for resource in kept.values():
            # The parameter in their place needs a transform that LocalStack has not.
            resource.pop("DeletionPolicy", None)
            resource.pop("UpdateReplacePolicy", None)
            resource.pop("Metadata", None)
        left = {k: written[k] for k in ("Parameters", "Conditions", "Mappings") if k in written}
        body = yaml.safe_dump(left | {"Resources": kept}, sort_keys=False)
        artifacts = f"{self.stack}-artifacts"
        self.s3.create_bucket(Bucket=artifacts)
        self.s3.put_object(Bucket=artifacts, Key="template.yaml", Body=body.encode())
        formation = self.standins.client("cloudformation")
        formation.create_stack(
            StackName=self.stack,
            TemplateURL=f"{self.standins.localstack}/{artifacts}/template.yaml",
            Parameters=[
                {"ParameterKey": name, "ParameterValue": str(value)}
                for name, value in self.parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
        for _ in range(240):
            status = formation.describe_stacks(StackName=self.stack)["Stacks"][0]
            if not status["StackStatus"].endswith("IN_PROGRESS"):
                break
            time.sleep(0.5)
        if status["StackStatus"] != "CREATE_COMPLETE":
            events = formation.describe_stack_events(StackName=self.stack)["StackEvents"]
            failed = [e for e in events if "FAILED" in e["ResourceStatus"]]
            reasons = [(e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in failed]
            raise RuntimeError(f"{status['StackStatus']}: {reasons}")
        resources = formation.describe_stack_resources(StackName=self.stack)["StackResources"]
        return {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}

    def environment(self, function: str) -> dict[str, str]:
        """What the template has in the function's environment, with the stand-ins' endpoints."""
        given = self.resolved.functions()[function]["Environment"]["Variables"]
        shared = self.resolved.globals["Function"].get("Environment", {}).get("Variables", {})
        proxy = self.proxies[function].url
        secret = next(
            name
            for name, resource in self.written["Resources"].items()
            if resource["Type"] == "AWS::SecretsManager::Secret"
        )
        return {
            **{name: str(value) for name, value in (shared | given).items()},
            # The names that CloudFormation gave.
            "LAKE_BUCKET": self.bucket,
            "GLUE_DATABASE": self.database,
            "PSEUDONYM_KEY_SECRET": self.names[secret],
            "AWS_LAMBDA_FUNCTION_NAME": f"{self.stack}-{function}",
            "AWS_ENDPOINT_URL_S3": proxy,
            "AWS_ENDPOINT_URL_GLUE": proxy,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": proxy,
        }

    def queue(self, function: str) -> str:
        """The URL of the queue that feeds a function."""
        for resource in self.written["Resources"].values():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            if resource["Metadata"]["BuildProperties"]["Binary"] == function:
                source = next(
                    e for e in resource["Properties"]["Events"].values() if e["Type"] == "SQS"
                )
                return self.names[source["Properties"]["Queue"]["Fn::GetAtt"][0]]
        raise KeyError(function)

    def upload(self, key: str, content: bytes) -> None:
        """Uploads an object as anybody would."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)

    def poll(self, shuffle: random.Random | None = None, twice: bool = False) -> None:
        """Begins to hand out what is in the queues."""
        for function, emulated in self.functions.items():
            queue = self.queue(function)
            poller = Poller(self.sqs, queue, emulated, shuffle, twice)
            poller.start()
            self.pollers.append(poller)

    def come_to_rest(self, seconds: float = 300) -> None:
        """Waits until nothing is in any queue or in work."""
        deadline = time.monotonic() + seconds
        quiet_since = None
        while time.monotonic() < deadline:
            for poller in self.pollers:
                if poller.failure:
                    raise AssertionError(poller.failure)
            if any(poller.busy for poller in self.pollers) or any(map(self.waiting, FUNCTIONS)):
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > REST_SECONDS:
                return
            time.sleep(0.2)
        waiting = {function: self.waiting(function) for function in FUNCTIONS}
        raise AssertionError(f"not at rest after {seconds} s: {waiting}\n{self.complaints()}")

    def waiting(self, function: str) -> int:
        """How many messages a queue holds, in flight too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue(function), AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def complaints(self) -> str:
        """The errors in the functions' logs."""
        lines = []
        for function, emulated in self.functions.items():
            errors = [line for line in emulated.log.splitlines() if '"level":"ERROR"' in line]
            lines += [f"{function}: {line}" for line in errors[-5:]]
        return "\n".join(lines)

    def stop_polling(self) -> None:
        """Hands out nothing more."""
        for poller in self.pollers:
            poller.stop()
        self.pollers = []

    def download(self) -> Path:
        """The bucket as a folder, so that it can be read as a local lake is."""
        lake = self.folder / "lake"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        for page in pages:
            for entry in page.get("Contents", []):
                if entry["Key"].startswith(("trusted/", "curated/")):
                    path = lake / entry["Key"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self.s3.download_file(self.bucket, entry["Key"], str(path))
        return lake

    def close(self) -> None:
        """Ends all that was started."""
        self.stop_polling()
        for emulated in self.functions.values():
            emulated.kill()
        for proxy in self.proxies.values():
            proxy.stop()
        self.temporary.cleanup()


def as_eventbridge_sends_it(body: str) -> str:
    """LocalStack encodes the keys in EventBridge's events, which AWS does not."""
    event = json.loads(body)
    if event.get("source") == "aws.s3":
        entry = event["detail"]["object"]
        entry["key"] = urllib.parse.unquote(entry["key"])
    return json.dumps(event)


class Poller(threading.Thread):
    """What Lambda does between a queue and a function: batches, partial failures, redelivery."""

    def __init__(
        self,
        sqs,  # noqa: ANN001
        queue: str,
        emulated: Emulated,
        luck: random.Random | None,
        twice: bool,
    ) -> None:
        super().__init__(daemon=True)
        self.sqs, self.queue, self.emulated = sqs, queue, emulated
        self.luck, self.twice = luck, twice
        self.stopping = threading.Event()
        self.busy = False
        self.failure = ""
        self.deliveries: dict[str, int] = {}

    def stop(self) -> None:
        """Stops after the batch it is at."""
        self.stopping.set()
        self.join()

    def run(self) -> None:
        while not self.stopping.is_set():
            received = self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            messages = received.get("Messages", [])
            if not messages:
                continue
            self.busy = True
            try:
                self.deliver(messages)
            except Exception as error:
                self.failure = repr(error)
            self.busy = False

    def deliver(self, messages: list[dict]) -> None:
        """Delivers a batch; what failed becomes visible again."""
        for message in messages:
            count = self.deliveries[message["MessageId"]] = (
                self.deliveries.get(message["MessageId"], 0) + 1
            )
            if count > ATTEMPTS_MAX:
                raise AssertionError(f"delivered {count} times: {message['Body']}")
        if self.luck:
            self.luck.shuffle(messages)
        failed = self.invoke(messages)
        if self.twice:
            failed |= self.invoke(list(reversed(messages)))
        for message in messages:
            receipt = {"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failed:
                self.sqs.change_message_visibility(**receipt, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(**receipt)

    def invoke(self, messages: list[dict]) -> set[str]:
        """Invokes the function with a batch; answers the messages that failed."""
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.queue.rsplit('/', 1)[1]}"
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": as_eventbridge_sends_it(message["Body"]),
                "attributes": {
                    "ApproximateReceiveCount": str(self.deliveries[message["MessageId"]])
                },
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": REGION,
            }
            for message in messages
        ]
        everything = {message["MessageId"] for message in messages}
        answer = None
        # A function that was killed answers nothing: everything is delivered again.
        with contextlib.suppress(OSError, ValueError):
            answer = self.emulated.invoke({"Records": records})
        if not isinstance(answer, dict) or "batchItemFailures" not in answer:
            time.sleep(0.2)
            return everything
        return {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
