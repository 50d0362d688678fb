"""Counts the store calls of one more landing object in a lake at rest, for cost.py.

    STEDI=…/stedi python tests/bench/calls.py --data DIR > calls.json

Makes a lake of a data folder, a file of each feed held back; then lets `stedi watch` process these,
one after the other, under strace. In the local store an object is a file, so opening one to read is
a GET (also where it is not there), opening a folder a LIST, renaming or making a file a PUT,
removing one a DELETE. Opening the landing zone's folders, by which the command notices new files,
is left out: in an account an event does that. Calls of the catalog are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from data import feed_files, records_of

CALLS = "trace=openat,rename,renameat,renameat2,unlink,unlinkat"
QUIET_S = 4.0
FEEDS = ("accelerometer", "step_trainer", "customer")
PERSON = {"accelerometer": "user", "step_trainer": "serialNumber", "customer": "email"}


def hold_back(data: Path, folder: Path) -> dict[str, str]:
    """Copies a data folder without the last full file of the readings; answers what to add later.

    To the customer feed one record is to be added: the first of its last file, changed.
    """
    later = {}
    for stream in FEEDS:
        files = feed_files(data, stream)
        last = max(files, key=lambda file: (file[0].stat().st_size, file[0]))[0]
        text = last.read_text(encoding="utf-8")
        if stream == "customer":
            record = next(r for r in records_of(text) if r.get("shareWithResearchAsOfDate"))
            changed = {"lastUpdateDate": 1_900_000_000_000, "phone": "8015550000"}
            text = json.dumps(record | changed) + "\n"
        for path, place in files:
            if path != last or stream == "customer":
                target = folder / "landing" / stream / place
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        later[stream] = text
    return later


def calls(trace: Path, lake: Path, begin: float, end: float) -> Counter[str]:
    """Store calls within a span of time."""
    found: Counter[str] = Counter()
    prefix = f'"{lake}/'
    watched = re.compile(r"landing(/(customer|accelerometer|step_trainer))?/?")
    for line in trace.read_text(errors="replace").splitlines():
        _, at, call = line.split(None, 2)
        places = re.findall(re.escape(prefix) + r'([^"]*)"', call)
        if not begin <= float(at) <= end or not places:
            continue
        place = places[-1]
        if place.startswith(".stedi") or watched.fullmatch(place):
            continue
        if call.startswith("openat"):
            kind = "list" if "O_DIRECTORY" in call else "put" if "O_CREAT" in call else "get"
        else:
            kind = "delete" if call.startswith("unlink") else "put"
        found[kind] += 1
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    stedi = os.environ["STEDI"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        lake, trace = folder / "lake", folder / "trace"
        later = hold_back(options.data, folder / "data")
        run = [stedi, "run", "--lake", lake, "--data", folder / "data"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        log = folder / "log"
        with log.open("wb") as output:
            watch = subprocess.Popen([stedi, "watch", "--lake", str(lake)], stdout=output)
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-ttt", "-e", CALLS, "-o", trace, "-p", str(watch.pid)]
        )
        events = {}
        try:
            time.sleep(QUIET_S)
            for stream, text in later.items():
                events[stream] = event(lake, log, trace, stream, text)
        finally:
            watch.send_signal(signal.SIGINT)
            watch.wait()
            tracer.wait()
    print(json.dumps({"source": f"calls.py, {options.data}", "events": events}, indent=1))
    return 0


def event(lake: Path, log: Path, trace: Path, stream: str, text: str) -> dict[str, object]:
    """Adds a landing object and waits for rest; what it took."""
    said = len(log.read_text())
    begin = time.time()
    target = lake / "landing" / stream / "one-more.json"
    temporary = lake.parent / "one-more.json"
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(target)
    time.sleep(QUIET_S)
    invocations = sum(map(int, re.findall(r"at rest: (\d+) invo", log.read_text()[said:])))
    if not invocations:
        raise SystemExit(f"{stream}: no rest within {QUIET_S} s: {log.read_text()}")
    people = {record.get(PERSON[stream]) for record in records_of(text)}
    found = calls(trace, lake, begin, time.time())
    return {
        "bytes": len(text.encode()),
        "people": len(people),
        "grows_with_people": ["list"] if stream == "accelerometer" else [],
        "functions": {"all": {"invocations": invocations, **found}},
    }


if __name__ == "__main__":
    sys.exit(main())
