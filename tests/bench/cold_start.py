"""Times how the functions start: from spawn to the first poll, and to the first answer.

    cargo lambda build --release
    CARGO_TARGET_DIR=target/arm64 cargo lambda build --release --arm64
    python tests/bench/cold_start.py [--built target/lambda] [--deployed target/arm64/lambda]

Plays the Runtime API of Lambda to each function's `bootstrap`, and gives it one event: a landing
object, or what follows from one, that is gone by now. So the answer takes the making of clients,
key and lake, and the first looks at the bucket; S3, Secrets Manager and the catalog are a stand-in
in this process, which answers at once, without TLS. What Lambda itself does before it spawns, and
the network, are not in it. What is deployed is built for arm64 (template.yaml) and not timed:
`--deployed` names the folder of such a build, whose sizes are told beside. Results go to
COLD-START.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bench import ROOT, commit, machine

BUILD = "cargo lambda build --release"
# In a folder of its own: the two builds leave their binaries under the same names.
BUILD_DEPLOYED = "CARGO_TARGET_DIR=target/arm64 cargo lambda build --release --arm64"
# Of each function, in a folder of its name.
EVENT = "sqs_eventbridge.json"
RUNTIME = "/2018-06-01/runtime"
ANSWER_S_MAX = 10.0
NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code><Message>It is not there.</Message></Error>"
NOT_THERE = b'{"__type":"EntityNotFoundException","Message":"It is not there."}'


class Failed(Exception):
    """A function did not start or did not answer as it should."""


class StandIn(ThreadingHTTPServer):
    """The Runtime API, a bucket, a catalog and a secret; for one process, so that none is taken for
    the one before.
    """

    daemon_threads = True

    def __init__(self, event: bytes, objects: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.event = event
        self.objects = objects
        self.calls = 0
        self.polled_s: float | None = None
        self.answered_s: float | None = None
        self.answer = b""
        self.done = threading.Event()

    def __enter__(self) -> StandIn:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A function that is killed breaks its connections off."""


class Answers(BaseHTTPRequestHandler):
    """Answers a request."""

    server: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Sends an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def do_GET(self) -> None:
        """The next invocation, an object or a listing."""
        now = time.perf_counter()
        if self.path == f"{RUNTIME}/invocation/next":
            return self.next_invocation(now)
        self.server.calls += 1
        address = urlsplit(self.path)
        if "list-type=2" in address.query:
            listing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
            return self.reply(200, listing)
        found = self.server.objects.get(unquote(address.path))
        if found is None:
            return self.reply(404, NO_SUCH_KEY)
        modified = "Wed, 25 Nov 2026 12:00:00 GMT"
        return self.reply(200, found, ETag='"1"', Last_Modified=modified)

    do_HEAD = do_GET

    def next_invocation(self, now: float) -> None:
        """Gives the one event there is, and nothing to who asks again."""
        if self.server.polled_s is None:
            self.server.polled_s = now
            self.reply(
                200,
                self.server.event,
                Content_Type="application/json",
                Lambda_Runtime_Aws_Request_Id="8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                Lambda_Runtime_Deadline_Ms=str(int(time.time() * 1000) + 120_000),
                Lambda_Runtime_Invoked_Function_Arn="arn:aws:lambda:us-east-1:1:function:f",
            )
        else:
            self.server.done.wait(ANSWER_S_MAX)
            self.close_connection = True

    def do_PUT(self) -> None:
        """An object."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.calls += 1
        self.server.objects[unquote(urlsplit(self.path).path)] = body
        self.reply(200, ETag='"1"')

    def do_DELETE(self) -> None:
        """Nothing is there to be deleted."""
        self.server.calls += 1
        self.reply(204)

    def do_POST(self) -> None:
        """An answer of the function, or a question to the catalog or for the secret."""
        now = time.perf_counter()
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.startswith(RUNTIME):
            if self.path.endswith("/response"):
                self.server.answered_s = now
            self.server.answer = body
            self.reply(202)
            self.server.done.set()
            return
        self.server.calls += 1
        target = self.headers.get("X-Amz-Target", "")
        if target.startswith("secretsmanager."):
            secret = {"Name": "key", "SecretString": "0f" * 32}
            self.reply(200, json.dumps(secret).encode())
        elif ".Get" in target:
            self.reply(400, NOT_THERE)
        else:
            self.reply(200, b"{}")


@dataclass(frozen=True)
class Started:
    """How a process started: milliseconds from spawn, and calls until the answer."""

    polled_ms: float
    answered_ms: float
    calls: int


def start(bootstrap: Path, event: bytes, objects: dict[str, bytes]) -> Started:
    """Spawns a function in front of these objects."""
    with StandIn(event, objects) as stand_in:
        return answer(stand_in, bootstrap)


def answer(stand_in: StandIn, bootstrap: Path) -> Started:
    """Lets a function answer."""
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_ENDPOINT_URL": f"http://{stand_in.address}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_NAME": bootstrap.parent.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_LOG_GROUP_NAME": "log",
        "AWS_LAMBDA_LOG_STREAM_NAME": "log",
        "AWS_LAMBDA_RUNTIME_API": stand_in.address,
        "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "GLUE_DATABASE": "stedi",
        "LAKE_BUCKET": "lake",
        "PATH": os.environ["PATH"],
        "PSEUDONYM_KEY_SECRET": "key",
    }
    with tempfile.TemporaryFile() as log:
        spawned_s = time.perf_counter()
        process = subprocess.Popen([bootstrap], env=environment, stdout=log, stderr=log)
        stand_in.done.wait(ANSWER_S_MAX)
        process.kill()
        process.wait()
        log.seek(0)
        said = log.read().decode()
    polled_s, answered_s, answered = stand_in.polled_s, stand_in.answered_s, stand_in.answer
    if polled_s is None or answered_s is None:
        raise Failed(f"{bootstrap} did not answer: {answered.decode()} {said}")
    if json.loads(answered) != {"batchItemFailures": []}:
        raise Failed(f"{bootstrap} answered {answered.decode()}: {said}")
    return Started(1e3 * (polled_s - spawned_s), 1e3 * (answered_s - spawned_s), stand_in.calls)


def zip_bytes(bootstrap: Path) -> int:
    """Size of what is deployed."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(bootstrap, "bootstrap")
        return Path(file.name).stat().st_size


def sizes(bootstrap: Path) -> list[str]:
    """Zipped and not, megabytes."""
    return [f"{size / 1e6:.1f}" for size in (zip_bytes(bootstrap), bootstrap.stat().st_size)]


def line(bootstrap: Path, runs: int, deployed: Path | None) -> str:
    """What is found of a function, after a first run that makes the lake."""
    name = bootstrap.parent.name
    event = (ROOT / "events" / name / EVENT).read_bytes()
    objects: dict[str, bytes] = {}
    start(bootstrap, event, objects)
    runs_of = [start(bootstrap, event, objects) for _ in range(runs)]
    cells = []
    for taken in ([run.polled_ms for run in runs_of], [run.answered_ms for run in runs_of]):
        cells += [f"{statistics.median(taken):.1f}", f"{max(taken):.1f}"]
    cells.append(str(runs_of[-1].calls))
    cells += sizes(bootstrap)
    cells += sizes(deployed / name / "bootstrap") if deployed else ["", ""]
    return f"| `{name}` | {' | '.join(cells)} |"


def main() -> int:
    """Times all functions."""
    parser = argparse.ArgumentParser(description="How the functions start.")
    parser.add_argument("--built", type=Path, default=ROOT / "target" / "lambda")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--deployed", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("COLD-START.md"))
    arguments = parser.parse_args()
    functions = sorted(event.parent.name for event in (ROOT / "events").glob(f"*/{EVENT}"))
    bootstraps = [arguments.built / function / "bootstrap" for function in functions]
    deployed = [arguments.deployed / it / "bootstrap" for it in functions if arguments.deployed]
    for bootstrap in bootstraps + deployed:
        if not bootstrap.is_file():
            build = BUILD_DEPLOYED if bootstrap in deployed else BUILD
            print(f"{bootstrap} is not there; build it: {build}", file=sys.stderr)
            return 2
    try:
        lines = [line(bootstrap, arguments.runs, arguments.deployed) for bootstrap in bootstraps]
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    document = f"""# How the functions start

{datetime.date.today()}, {machine()["cpu"]}, in a clone at {commit()}. Medians and longest of
{arguments.runs} runs, milliseconds from spawn; written by `tests/bench/cold_start.py`, which says
what is in it.

| function | first poll | longest | first answer | longest | calls until then | zip, MB | \
unzipped | zip for arm64 | unzipped |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}
"""
    arguments.out.write_text(document, encoding="utf-8")
    print(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
