"""The conformance suite of the stores, over S3 as LocalStack has it.

Not as moto has it: it answers a completed multipart upload with another element than S3.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from deployment import HOUSE
from standins import CREDENTIALS, StandIns

TIMEOUT_SECONDS = 900  # it is built first


class Conformance(unittest.TestCase):
    """S3Store keeps what every store promises."""

    def test_the_suite(self) -> None:
        with tempfile.TemporaryDirectory(prefix="stedi-standins-") as folder:
            standins = StandIns(Path(folder))
            standins.start()
            self.addCleanup(standins.stop)
            self.run_suite(standins.localstack)

    def run_suite(self, endpoint: str) -> None:
        """Runs the suite against an endpoint."""
        done = subprocess.run(
            [
                *("cargo", "test", "--release", "--locked", "-p", "aws"),
                *("--features", "stand-ins", "--test", "conformance"),
            ],
            cwd=HOUSE,
            env={**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL_S3": endpoint},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("running 0 tests", done.stdout)


if __name__ == "__main__":
    unittest.main()
