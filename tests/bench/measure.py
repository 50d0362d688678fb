"""Runs a command pinned to cores and tells what it took of the machine.

Seconds are of the wall clock. CPU seconds are user and system time of all processes of the
command, as the kernel accounts for them when they are waited for; those that outlive the command
(Spark's JVM does, by a moment) are waited for too. Peak memory is the larger of the kernel's own
peak of any one process and of the sum over the processes, looked at every 20 ms.

This module and the one that calls it import little: a process starts as a copy of its parent, and
the kernel counts the parent's memory as a floor of the child's peak.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SAMPLE_S = 0.02
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CommandFailed(Exception):
    """The command ended with an error; the argument says how."""


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    others_cores: float
    output: str


def adopt_orphans() -> None:
    """Makes this process the parent of processes that lose theirs, so that it can wait for them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def measure(
    command: list[str], cores: int, environment: dict[str, str], log: Path, seconds_max: float
) -> Taken:
    """Runs a command on the first cores; its standard error goes to the log."""
    pinned = ["taskset", "--cpu-list", f"0-{cores - 1}", *command]
    busy = busy_seconds()
    start = time.perf_counter()
    with log.open("ab") as errors:
        process = subprocess.Popen(
            pinned,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    peak = Peak(process.pid)
    peak.start()
    limit = threading.Timer(seconds_max, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    assert process.stdout
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    limit.cancel()
    usages = [usage, *wait_for_group(process.pid)]
    peak.end()
    cpu_seconds = sum(one.ru_utime + one.ru_stime for one in usages)
    others_cores = max(0.0, (busy_seconds() - busy - cpu_seconds) / seconds)
    if process.returncode == -signal.SIGKILL and seconds >= seconds_max:
        raise CommandFailed(f"not done after {seconds_max:.0f} s")
    if process.returncode != 0:
        tail = log.read_text(errors="replace")[-2000:]
        raise CommandFailed(f"{' '.join(command)}: exit {process.returncode}\n{tail}")
    peak_bytes = max(peak.bytes, *(one.ru_maxrss * 1024 for one in usages))
    return Taken(seconds, cpu_seconds, peak_bytes, others_cores, output)


def wait_for_group(group: int) -> list[os.struct_rusage]:
    """Waits for what is left of a process group."""
    usages = []
    while True:
        try:
            usages.append(os.wait4(-group, 0)[2])
        except ChildProcessError:
            return usages


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent on anything."""
    with Path("/proc/stat").open() as lines:
        user, nice, system, _idle, _iowait, interrupt, soft, *_ = map(int, next(lines).split()[1:])
    return (user + nice + system + interrupt + soft) / TICKS_PER_S


class Peak(threading.Thread):
    """Watches the memory of a session's processes."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.session = session
        self.bytes = 0
        self.ended = threading.Event()

    def end(self) -> None:
        """Stops watching."""
        self.ended.set()
        self.join()

    def run(self) -> None:
        """Looks, until told to stop."""
        samples = 0
        members: list[int] = []
        while not self.ended.wait(SAMPLE_S):
            if samples % 25 == 0 or samples < 25:  # who belongs to it changes seldom
                members = session_members(self.session)
            samples += 1
            self.bytes = max(self.bytes, sum(map(resident_bytes, members)))


def session_members(session: int) -> list[int]:
    """Processes of a session."""
    members = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            try:
                if os.getsid(int(entry)) == session:
                    members.append(int(entry))
            except (ProcessLookupError, PermissionError):
                continue
    return members


def resident_bytes(process: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
