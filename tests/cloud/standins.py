"""AWS on loopback: LocalStack for S3, SQS, EventBridge, CloudFormation and Secrets Manager, moto
for the Glue Data Catalog, each a process of its own.

LocalStack wants Python 3.13 and an environment of its own (requirements-localstack.txt): its
interpreter is that of the environment variable STEDI_LOCALSTACK_PYTHON.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

REGION = "us-east-1"
ACCOUNT = "000000000000"
STARTUP_SECONDS = 120
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A process that serves a port of loopback."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        ready: str,
        environment: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.command, self.log, self.ready = command, log, ready
        self.environment, self.folder = environment, folder
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts it, without waiting until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Waits until it answers."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self.ready, timeout=2):
                    return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"{self.command[0]} does not serve {self.ready}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """Ends it and what it started, at once."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()


class Moto(Server):
    """moto: S3, Glue and Secrets Manager, in memory."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            folder / "moto.log",
            f"{self.url}/moto-api/",
            {**os.environ, **CREDENTIALS},
            folder,
        )


def client(service: str, url: str):  # noqa: ANN201
    """An ordinary client of the service at a URL."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=32),
    )


class StandIns:
    """The services of an account."""

    def __init__(self, folder: Path) -> None:
        localstack, moto = free_port(), Moto(folder)
        self.localstack = f"http://127.0.0.1:{localstack}"
        self.moto = moto.url
        self.servers = [
            Server(
                [os.environ["STEDI_LOCALSTACK_PYTHON"], "-m", "localstack.runtime.main"],
                folder / "localstack.log",
                f"{self.localstack}/_localstack/health",
                {
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "LOCALSTACK_VOLUME_DIR": str(folder / "localstack"),
                    "FILESYSTEM_ROOT": str(folder / "localstack-root"),
                    "SERVICES": "s3,sqs,events,cloudformation,secretsmanager,iam,kms",
                    "GATEWAY_LISTEN": f"127.0.0.1:{localstack}",
                    "DNS_ADDRESS": "0",
                    "SKIP_SSL_CERT_DOWNLOAD": "1",
                    "DISABLE_EVENTS": "1",
                },
                folder,
            ),
            moto,
        ]

    def start(self) -> None:
        """Starts all of them."""
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait()

    def stop(self) -> None:
        """Ends all of them."""
        for server in self.servers:
            server.kill()

    def client(self, service: str):  # noqa: ANN201
        """An ordinary client."""
        return client(service, self.moto if service == "glue" else self.localstack)
