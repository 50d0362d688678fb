"""Drives the built `stedi` command, and holds its lakes against the reference.

The binary is that of the environment variable STEDI, or the release build of this house.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HOUSE / "tests" / "reference"))

import tiny  # noqa: E402
from compare import compare  # noqa: E402
from derive import CONSENTS, IDENTITIES, PAIRINGS, TABLES  # noqa: E402
from load import STREAMS, stream_files  # noqa: E402
from readers import disagreements  # noqa: E402

__all__ = [
    "CONSENTS",
    "IDENTITIES",
    "LONG",
    "PAIRINGS",
    "POLICIES",
    "STREAMS",
    "TABLES",
    "LakeTest",
    "Policy",
    "binary",
    "disagreements",
    "files_of",
    "only",
    "snapshot",
    "stedi",
    "tiny",
]

LONG = bool(os.environ.get("STEDI_TESTS_LONG"))
DERIVED_ZONES = ("trusted", "curated", "state", "quarantine")
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Policy:
    """The three policies of a lake."""

    consent: str = "any"
    pairing: str = "timestamp"
    identity: str = "pseudonym"

    def arguments(self) -> list[str]:
        """As the command takes them."""
        return [
            *("--consent", self.consent),
            *("--pairing", self.pairing),
            *("--identity", self.identity),
        ]


# The four combinations of consent and pairing, each with an identity, so that all three occur.
POLICIES = [
    Policy(consent, pairing, IDENTITIES[number % 3])
    for number, (consent, pairing) in enumerate((c, p) for c in CONSENTS for p in PAIRINGS)
]


@functools.cache
def binary() -> str:
    """Path of the command, built if the environment names none."""
    if named := os.environ.get("STEDI"):
        return named
    built = subprocess.run(
        [*["cargo", "build", "--release", "--locked", "-p", "stedi", "--message-format=json"]],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    messages = (json.loads(line) for line in built.stdout.splitlines())
    executables = [m["executable"] for m in messages if m.get("executable")]
    return executables[-1]


def stedi(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [binary(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def snapshot(lake: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every derived object of a lake, and of its state, but for what the
    comparisons before remember: nothing is derived from that.
    """
    return {
        path.relative_to(lake).as_posix(): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for zone in DERIVED_ZONES
        for path in sorted((lake / zone).rglob("*"))
        if path.is_file() and path.parent != lake / "state" / "compared"
    }


def only(data: Path, out: Path, chosen: list[tuple[str, str]]) -> Path:
    """A data folder with some files of another, each named by stream and key below it."""
    for stream, name in chosen:
        target = out / "landing" / stream / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stream_files(data, stream)[name], target)
    return out


def files_of(data: Path, *streams: str) -> list[tuple[str, str]]:
    """The files of some streams of a data folder, or of all of them."""
    return [(stream, name) for stream in streams or STREAMS for name in stream_files(data, stream)]


class LakeTest(unittest.TestCase):
    """A test with a folder of its own, and what tests of lakes ask for."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="stedi-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def succeed(self, *arguments: str | Path) -> str:
        """Runs the command, which must succeed; answers what it prints."""
        done = stedi(*arguments)
        self.assertEqual(done.returncode, 0, f"stedi {arguments}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def refuse(self, *arguments: str | Path) -> str:
        """Runs the command, which must refuse in one line with exit code 2; answers the line."""
        done = stedi(*arguments)
        self.assertEqual(done.returncode, 2, f"stedi {arguments}:\n{done.stdout}{done.stderr}")
        line = done.stderr.strip()
        self.assertTrue(line, f"stedi {arguments} says nothing")
        self.assertNotIn("\n", line, f"stedi {arguments} says more than one line")
        self.assertNotIn("panicked", line)
        return line

    def generate(self, name: str, customers: int, days: int, seed: int, *more: str) -> Path:
        """Makes data with the command."""
        out = self.folder / name
        numbers = ("--customers", str(customers), "--days", str(days), "--seed", str(seed))
        self.succeed("generate", "--out", out, *numbers, *more)
        return out

    def run_lake(
        self, lake: Path, data: Path | None, policy: Policy | None
    ) -> dict[str, dict[str, int]]:
        """Brings a lake to rest; answers its tables by name."""
        source = ["--data", str(data)] if data else []
        policies = policy.arguments() if policy else []
        printed = self.succeed("run", *source, "--lake", lake, *policies, "--format", "json")
        return {table["table"]: table for table in json.loads(printed)["tables"]}

    def check(
        self, lake: Path, policy: Policy, data: list[Path], former: list[Path] | None = None
    ) -> dict[str, int]:
        """Compares a lake with the reference; answers the rows of the derived tables."""
        report = compare(data, lake, policy.consent, policy.pairing, policy.identity, former)
        if report.differences:
            self.fail(f"{policy}\n{report}")
        return {table: expected for table, (expected, _) in report.rows.items()}

    def check_rows(self, printed: dict[str, dict[str, int]], rows: dict[str, int]) -> None:
        """What the command says must be what there is."""
        self.assertEqual({table: printed[table]["rows"] for table in TABLES}, rows)
