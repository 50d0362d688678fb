"""Writes the table and the plot of a benchmark from its raw figures.

report.py RESULTS.json        writes RESULTS.md and RESULTS.svg beside it
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

NAMES = {"lake": "the lake", "duckdb": "DuckDB", "polars": "Polars", "spark": "PySpark"}
COLOURS = {"lake": "#1b6ca8", "duckdb": "#e0a800", "polars": "#7a4fa3", "spark": "#c8553d"}
Runs = list[dict[str, Any]]


def runs_of(found: dict[str, Any], scale: int, cores: int, peer: str) -> Runs:
    """A peer's runs."""
    asked = (scale, cores, peer)
    return [run for run in found["runs"] if (run["scale"], run["cores"], run["peer"]) == asked]


def figures(found: dict[str, Any], scale: int, cores: int, peer: str) -> dict[str, float] | None:
    """Medians of a peer's runs; none if it did not finish."""
    runs = runs_of(found, scale, cores, peer)
    done = [run for run in runs if run["job_seconds"] is not None]
    if not done or len(done) < len(runs):
        return None
    names = ("job_seconds", "process_seconds", "cpu_seconds", "peak_bytes", "others_cores")
    medians = {name: median(run[name] for run in done) for name in (*names, "out_bytes")}
    jobs = [run["job_seconds"] for run in done]
    objects = median(run["out_objects"] for run in done)
    return medians | {"min": min(jobs), "max": max(jobs), "runs": len(done), "objects": objects}


def data_of(found: dict[str, Any], scale: int) -> dict[str, Any]:
    """The data of a scale."""
    return next(data for data in found["data"] if data["scale"] == scale)


# --- the table -----------------------------------------------------------------------------------


def table(found: dict[str, Any], scale: int) -> list[str]:
    """One scale as Markdown."""
    data = data_of(found, scale)
    records = data["records"]
    lines = [
        f"## ×{scale}: {data['rows']:,} records, {data['bytes'] / 1e6:,.1f} MB of JSON in"
        f" {data['files']:,} files",
        "",
        f"{records['customer']:,} customer, {records['accelerometer']:,} accelerometer and"
        f" {records['step_trainer']:,} step trainer records: `{data['source']}`.",
        "",
        "| cores | peer | runs | job, s (min–max) | with start, s | CPU s | rows/s | MB/s |"
        " peak MB | MB out | objects | others' cores |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cores in found["cores"]:
        for peer in found["peers"]:
            lines.append(row(found, data, cores, peer))
    rows = found["tables"][str(scale)]
    counted = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    return [*lines, "", f"Rows, equal for all: {counted}.", "", *compared(found, scale), ""]


def row(found: dict[str, Any], data: dict[str, Any], cores: int, peer: str) -> str:
    """One peer on so many cores."""
    one = figures(found, data["scale"], cores, peer)
    if one is None:
        failures = [run["failure"] for run in runs_of(found, data["scale"], cores, peer)]
        why = next((failure.splitlines()[0] for failure in failures if failure), "not run")
        return f"| {cores} | {NAMES[peer]} | | {why} | | | | | | | | |"
    job = one["job_seconds"]
    cells = [
        str(cores),
        NAMES[peer],
        f"{one['runs']:.0f}",
        f"**{job:.2f}** ({one['min']:.2f}–{one['max']:.2f})",
        f"{one['process_seconds']:.2f}",
        f"{one['cpu_seconds']:.2f}",
        f"{data['rows'] / job:,.0f}",
        f"{data['bytes'] / 1e6 / job:,.1f}",
        f"{one['peak_bytes'] / 1e6:,.0f}",
        f"{one['out_bytes'] / 1e6:,.2f}",
        f"{one['objects']:,.0f}",
        f"{one['others_cores']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def compared(found: dict[str, Any], scale: int) -> list[str]:
    """The lake beside each peer, in words."""
    lines = []
    for cores in found["cores"]:
        lake = figures(found, scale, cores, "lake")
        parts = []
        for peer in found["peers"]:
            other = figures(found, scale, cores, peer)
            if peer == "lake" or lake is None or other is None:
                continue
            wall = lake["job_seconds"] / other["job_seconds"]
            cpu = lake["cpu_seconds"] / other["cpu_seconds"]
            parts.append(f"{wall:.2f} × {NAMES[peer]}'s seconds ({cpu:.2f} × its CPU)")
        if parts:
            plural = "s" if cores > 1 else ""
            lines.append(f"- On {cores} core{plural} the lake takes {', '.join(parts)}.")
    return lines


HEAD = """\
# Results of tests/bench/run

Written by `tests/bench/run {arguments}`.

The raw figures are in `{raw}`, what they mean is in [README.md](README.md).

- When: {began} to {ended}.
- Machine: {cpu}, {cores} cores, {memory}, Linux {kernel}, Python {python}; load at the
  start {load}.
- The lake: the binary of SHA-256 {stedi_sha256}…, in a clone at {commit}.
- Peers: {versions}.
- A multiple above 1 means that the lake is slower.

![Seconds by scale, peer and cores]({plot})
"""


def markdown(found: dict[str, Any], raw: Path) -> str:
    """The whole report."""
    versions = {NAMES[run["peer"]]: run["version"] for run in found["runs"] if run["version"]}
    head = HEAD.format(
        **found["machine"],
        arguments=found["arguments"],
        raw=raw.name,
        plot=raw.with_suffix(".svg").name,
        began=found["began"],
        ended=found["ended"],
        stedi_sha256=found["stedi_sha256"],
        versions=", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    )
    noise = [run["others_cores"] for run in found["runs"] if run["job_seconds"] is not None]
    lines = [
        head,
        f"Other processes used {median(noise):.2f} cores (median over the runs; up to"
        f" {max(noise):.2f}) of the same machine while these ran, so compare CPU seconds as well as"
        " seconds.",
        "",
    ]
    for data in found["data"]:
        lines += table(found, data["scale"])
    return "\n".join(lines).rstrip() + "\n"


# --- the plot ------------------------------------------------------------------------------------


def plot(found: dict[str, Any], target: Path) -> None:
    """Seconds and peak memory by scale, a column of panels for each number of cores."""
    plt.rcParams["svg.hashsalt"] = "stedi"
    plt.rcParams["svg.fonttype"] = "none"
    rows = (
        ("job_seconds", "seconds", 1),
        ("cpu_seconds", "CPU seconds, start included", 1),
        ("peak_bytes", "peak memory, MB", 1e6),
    )
    cores = found["cores"]
    size = (5 * len(cores), 2.7 * len(rows))
    _, panels = plt.subplots(len(rows), len(cores), figsize=size, squeeze=False, sharey="row")
    for down, (name, label, unit) in enumerate(rows):
        for across, count in enumerate(cores):
            panel = panels[down][across]
            bars(panel, found, count, name, unit)
            if across == 0:
                panel.set_ylabel(label)
            if down == 0:
                panel.set_title(f"{count} core{'s' if count > 1 else ''}")
    panels[0][0].legend(fontsize=8, frameon=False)
    plt.tight_layout()
    plt.savefig(target, format="svg", metadata={"Date": None})


def bars(panel: Any, found: dict[str, Any], cores: int, name: str, unit: float) -> None:  # noqa: ANN401
    """One panel: a group of bars for each scale."""
    width = 0.8 / len(found["peers"])
    for place, peer in enumerate(found["peers"]):
        for group, data in enumerate(found["data"]):
            one = figures(found, data["scale"], cores, peer)
            if one is None:
                continue
            value = one[name] / unit
            at = group + (place - (len(found["peers"]) - 1) / 2) * width
            label = NAMES[peer] if group == 0 else None
            panel.bar(at, value, width, color=COLOURS[peer], label=label)
            text = f"{value:.2f}" if value < 10 else f"{value:,.0f}"
            panel.text(at, value, text, ha="center", va="bottom", fontsize=6)
    panel.set_yscale("log")
    panel.margins(y=0.12)
    panel.set_xticks(range(len(found["data"])))
    panel.set_xticklabels([f"×{data['scale']}" for data in found["data"]])
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", type=Path)
    options = parser.parse_args()
    found = json.loads(options.raw.read_text(encoding="utf-8"))
    options.raw.with_suffix(".md").write_text(markdown(found, options.raw), encoding="utf-8")
    plot(found, options.raw.with_suffix(".svg"))
    print(f"wrote {options.raw.with_suffix('.md')} and {options.raw.with_suffix('.svg')}")


if __name__ == "__main__":
    main()
