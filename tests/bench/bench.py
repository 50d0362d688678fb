"""Times the lake and its peers on the same files, cores and outputs, in turn.

    tests/bench/run [--quick] [--scales 1,10,100] [--cores 1,2] [--repeats 5,3,1] [--peers lake,…]
                    [--data DIR [--copies-per-day N] [--merged]] [--work DIR] [--results FILE.md]

Every peer's five tables must have equal rows: their counts are compared in each run, digests of
what is in them in the first. Fails, and writes no results, where they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import data as datasets
import measure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = ("lake", "duckdb", "polars", "spark")
LAKE_POLICY = ["--consent", "any", "--pairing", "timestamp", "--identity", "clear"]


class Unequal(Exception):
    """Two peers made different tables."""


@dataclass
class Run:
    """One run of one peer."""

    scale: int
    cores: int
    peer: str
    job_seconds: float | None = None  # none: it did not finish
    process_seconds: float = 0
    cpu_seconds: float = 0
    peak_bytes: int = 0
    others_cores: float = 0
    out_bytes: int = 0
    out_objects: int = 0
    version: str = ""
    failure: str = ""


@dataclass
class Bench:
    """What was asked, and what was found."""

    stedi: Path
    work: Path
    seconds_max: float
    runs: list[Run] = field(default_factory=list)
    tables: dict[int, dict[str, int]] = field(default_factory=dict)
    digests: dict[tuple[int, str], str] = field(default_factory=dict)

    def command(self, peer: str, data: datasets.Data, out: Path, cores: int) -> list[str]:
        """What runs a peer."""
        if peer == "lake":
            run = [str(self.stedi), "run", "--lake", str(out), "--data", data.folder]
            return [*run, *LAKE_POLICY, "--format", "json"]
        script = str(HERE / "peers" / f"with_{peer}.py")
        folders = ["--data", data.folder, "--out", str(out)]
        return [sys.executable, script, *folders, "--threads", str(cores)]

    def time(self, peer: str, data: datasets.Data, cores: int) -> Run:
        """Runs a peer once and looks at what it wrote."""
        run = Run(data.scale, cores, peer)
        environment = {"POLARS_MAX_THREADS": str(cores)}
        with tempfile.TemporaryDirectory(dir=self.work, prefix=f"{peer}-") as folder:
            out = Path(folder) / "out"
            try:
                taken = measure.measure(
                    self.command(peer, data, out, cores),
                    cores,
                    environment,
                    self.work / f"{peer}.log",
                    self.seconds_max,
                )
            except measure.CommandFailed as failure:
                run.failure = str(failure)
                return run
            said = json.loads(taken.output[taken.output.index("{") :])
            run.job_seconds = said["seconds"]
            run.process_seconds = taken.seconds
            run.cpu_seconds = taken.cpu_seconds
            run.peak_bytes = taken.peak_bytes
            run.others_cores = taken.others_cores
            run.version = said.get("version", "")
            self.check(run, out)
        return run

    def check(self, run: Run, out: Path) -> None:
        """Compares the tables with those of the peers before."""
        done = ((one.scale, one.peer) for one in self.runs if not one.failure)
        first = (run.scale, run.peer) not in done
        script = HERE / "peers" / "written.py"
        command = [sys.executable, script, out, *(["--digest"] if first else [])]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(output)
        run.out_bytes = sum(table["bytes"] for table in found.values())
        run.out_objects = sum(table["objects"] for table in found.values())
        rows = {name: table["rows"] for name, table in found.items()}
        expected = self.tables.setdefault(run.scale, rows)
        if rows != expected:
            raise Unequal(f"{run.peer} at ×{run.scale}: rows {rows}, others have {expected}")
        for name, table in found.items() if first else ():
            digest = self.digests.setdefault((run.scale, name), table["digest"])
            if digest != table["digest"]:
                raise Unequal(f"{run.peer} at ×{run.scale}: {name} has other rows than others'")

    def scale(self, data: datasets.Data, cores: list[int], repeats: dict[str, int]) -> None:
        """Runs all peers on one set of data, in turn, each time in another order."""
        given_up: set[tuple[int, str]] = set()
        for repeat in range(max(repeats.values())):
            peers = [peer for peer, count in repeats.items() if repeat < count]
            turned = peers[repeat % len(peers) :] + peers[: repeat % len(peers)]
            for count in cores:
                for peer in turned:
                    if (count, peer) in given_up:
                        continue
                    run = self.time(peer, data, count)
                    self.runs.append(run)
                    if run.failure:
                        given_up.add((count, peer))
                    tell(run, repeat)


def tell(run: Run, repeat: int) -> None:
    """Shows how one run went."""
    what = f"×{run.scale} {run.cores} core(s) {run.peer:<7} run {repeat + 1}:"
    if run.job_seconds is None:
        print(f"{what} {run.failure}", flush=True)
        return
    print(
        f"{what} {run.job_seconds:8.2f} s ({run.process_seconds:.2f} s with start),"
        f" {run.cpu_seconds:.2f} CPU s, {run.peak_bytes / 1e6:.0f} MB,"
        f" others used {run.others_cores:.2f} cores",
        flush=True,
    )


# --- where it ran --------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """The machine, and what was timed on it."""
    cpu = [line.split(":")[1].strip() for line in lines("/proc/cpuinfo") if "model name" in line]
    memory = next(int(line.split()[1]) for line in lines("/proc/meminfo"))
    return {
        "cpu": cpu[0] if cpu else os.uname().machine,
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 1e6:.0f} GB",
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "load": " ".join(lines("/proc/loadavg")[0].split()[:3]),
    }


def lines(path: str) -> list[str]:
    """Lines of a file."""
    return Path(path).read_text().splitlines()


def commit() -> str:
    """The commit of the clone."""
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def sha256(path: Path) -> str:
    """First digits of a file's SHA-256."""
    command = ["sha256sum", path]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout[:12]


# --- the command ---------------------------------------------------------------------------------


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between."""
    return [int(number) for number in text.split(",")]


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description=(__doc__ or "").splitlines()[0],
        epilog="See tests/bench/README.md.",
    )
    parser.add_argument("--quick", action="store_true", help="×1, two repeats: 2 to 3 minutes")
    parser.add_argument("--scales", type=numbers, help="times the real data (1,10,100)")
    parser.add_argument("--cores", type=numbers, help="how many cores to pin to (1,2)")
    parser.add_argument("--repeats", type=numbers, help="runs of each, one number or one a scale")
    parser.add_argument("--spark-repeats", type=numbers, help="the same for Spark, at most")
    parser.add_argument("--peers", help=f"which ({','.join(PEERS)})", default=",".join(PEERS))
    parser.add_argument("--data", type=Path, help="real data, to be copied instead of generated")
    parser.add_argument("--copies-per-day", type=int, default=1, help="of the real data (1)")
    parser.add_argument("--merged", action="store_true", help="all copies of a file in one file")
    parser.add_argument("--seconds-max", type=float, default=900, help="longest run (900)")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "bench")
    parser.add_argument("--results", type=Path, help="Markdown to write; a plot goes beside it")
    options = parser.parse_args()
    options.scales = options.scales or ([1] if options.quick else [1, 10, 100])
    options.repeats = options.repeats or ([2] if options.quick else [3])
    options.cores = options.cores or [count for count in (1, 2) if count <= (os.cpu_count() or 1)]
    options.peers = options.peers.split(",")
    if len(options.repeats) == 1:
        options.repeats *= len(options.scales)
    options.spark_repeats = options.spark_repeats or options.repeats
    if len(options.spark_repeats) == 1:
        options.spark_repeats *= len(options.scales)
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"unknown peers {sorted(unknown)}")
    if {len(options.repeats), len(options.spark_repeats)} != {len(options.scales)}:
        parser.error("give one number of repeats, or one for each scale")
    if max(options.cores) > (os.cpu_count() or 1):
        parser.error(f"this machine has {os.cpu_count()} cores")
    default = HERE / "RESULTS.md" if not options.quick else options.work / "quick.md"
    options.results = options.results or default
    return options


def main() -> int:
    """The command."""
    options = parse()
    stedi = Path(os.environ["STEDI"]).resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    measure.adopt_orphans()
    bench = Bench(stedi, options.work, options.seconds_max)
    before = machine() | {"commit": commit()}
    began = datetime.now(UTC)
    sets = []
    try:
        asked = zip(options.scales, options.repeats, options.spark_repeats, strict=True)
        for scale, repeats, spark_repeats in asked:
            copies = datasets.Copies(options.data, options.copies_per_day, options.merged)
            data = datasets.make(stedi, options.work, scale, copies)
            sets.append(data)
            each = dict.fromkeys(options.peers, repeats)
            if "spark" in each:
                each["spark"] = min(repeats, spark_repeats)
            bench.scale(data, options.cores, each)
    except Unequal as unequal:
        print(f"not equal: {unequal}", file=sys.stderr)
        return 1
    found = {
        "began": began.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": " ".join(sys.argv[1:]),
        "machine": before,
        "stedi_sha256": sha256(stedi),
        "peers": options.peers,
        "cores": options.cores,
        "data": [asdict(one) | {"rows": one.rows} for one in sets],
        "tables": bench.tables,
        "runs": [asdict(run) for run in bench.runs],
    }
    raw = options.results.with_suffix(".json")
    raw.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, HERE / "report.py", raw], check=True)
    failed = [run for run in bench.runs if run.failure]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
