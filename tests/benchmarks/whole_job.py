"""What the whole job adds to reading: `python tests/benchmarks/whole_job.py DOCUMENTS` (`make whole-job`).

Reads the documents in one process, by `ocrbatch run` over a tenth of the pages, in one process, by `ocrbatch run` over
all, and in one process, so that a machine that grows slower or faster meanwhile shows. The documents are copied until
there are as many pages as asked for. Prints of each job: seconds after start-up, pages/s beside those of one process,
how much of all CPU time was spent beside its models (they take the CPU seconds a page of the same models in one
process), and the process tree's peak memory; then what ten times the pages cost, and how fast the pages beyond the
tenth were read: that is the speed of a warm job, without its start and its models' loading and compiling.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import CONTESTANTS, LOAD, OURS, Lane
from bench_pages import BenchPage, bench_pages, files
from processes import job

ROW = "{:>7} {:>12} {:>9} {:>12} {:>11} {:>14} {:>9} {:>9}"
HEADINGS = ("pages", "after start", "pages/s", "in process", "CPU s/page", "beside models", "peak MiB", "padding")


def copies(documents: Path, target: Path, pages: int, found: int) -> int:
    """Copies documents of so many pages below `target` until there are `pages` of them; how many there are then."""
    paths = list(files(documents))
    rounds = -(-pages // found)
    for number in range(rounds):
        for place, path in enumerate(paths):
            shutil.copy(path, target / f"{number:04}-{place:04}-{path.name}")
    return rounds * found


def measure(documents: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """One run over a folder. Raises SystemExit with what it said where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        done, tree = job([documents], Path(folder, "out"), overrides)
    if done.returncode:
        sys.exit(f"the job ended with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    return {
        "pages": report["pages"],
        "after_start_seconds": sum(report["seconds"][part] for part in ("load", "read", "publish")),
        "pages_per_second": report["pages_per_second"],  # once loaded; compiling and the commit are within
        "cpu_seconds": tree.cpu_seconds,
        "peak_mib": tree.peak_bytes / 2**20,
        "padding_ratio": report["padding_ratio"],
        "stages": report["stages"],
        "seconds": report["seconds"],
    }


def in_process(lane: Lane, pages: Sequence[BenchPage]) -> None:
    print("in one process", file=sys.stderr, flush=True)
    lane.lap(pages)
    if lane.failure:
        sys.exit(lane.failure)


def row(found: dict[str, Any]) -> str:
    return ROW.format(
        found["pages"],
        f"{found['after_start_seconds']:.1f} s",
        f"{found['pages_per_second']:.2f}",
        f"{found['of_one_process']:.1%}",
        f"{found['cpu_seconds'] / found['pages']:.3f}",
        f"{found['beside_models']:.1%}",
        f"{found['peak_mib']:,.0f}",
        f"{found['padding_ratio']:.1%}",
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path, help="folder of images and PDFs")
    parser.add_argument("--pages", type=int, default=640)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the job; may be repeated")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args(argv)
    if (load := os.getloadavg()[0]) > LOAD:
        print(f"the machine is busy (load {load:.1f}): figures will be off", file=sys.stderr)
    lane = Lane(next(each for each in CONTESTANTS if each.name == OURS))
    with tempfile.TemporaryDirectory() as folder:
        decoded, few, many = (Path(folder, name) for name in ("decoded", "few", "many"))
        for place in (decoded, few, many):
            place.mkdir()
        pages = bench_pages(arguments.documents, decoded, None, {})
        if not pages:
            sys.exit(f"no page could be read in {arguments.documents}")
        tenth = copies(arguments.documents, few, arguments.pages // 10, len(pages))
        copies(arguments.documents, many, 10 * tenth, len(pages))
        pages = pages * (tenth // len(pages))
        jobs = []
        for place in (few, many):
            in_process(lane, pages)
            print(f"the job, {place.name} pages", file=sys.stderr, flush=True)
            jobs.append(measure(place, arguments.set))
        in_process(lane, pages)
    rates = [lap["pages_per_second"] or 0.0 for lap in lane.laps]
    models = statistics.mean(report["model_cpu_seconds_per_page"] for report in lane.reports)
    for found in jobs:
        found["of_one_process"] = found["pages_per_second"] / statistics.mean(rates)
        found["beside_models"] = 1 - models * found["pages"] / found["cpu_seconds"]
    once, tenfold = jobs
    times = tenfold["after_start_seconds"] / once["after_start_seconds"]
    growth = tenfold["peak_mib"] / once["peak_mib"] - 1
    more = tenfold["pages"] - once["pages"]
    warm = more / (tenfold["after_start_seconds"] - once["after_start_seconds"])
    of_one_process = warm / statistics.mean(rates)
    beside = 1 - models * more / (tenfold["cpu_seconds"] - once["cpu_seconds"])
    spoken = ", ".join(f"{rate:.2f}" for rate in rates)
    print(f"in one process {spoken} pages/s; {models:.3f} CPU s a page in the models")
    print("\n".join([ROW.format(*HEADINGS), *map(row, jobs)]))
    print(f"{tenfold['pages'] / once['pages']:.0f} times the pages: {times:.2f} times the time, memory {growth:+.1%}")
    print(f"warm: {warm:.2f} pages/s, {of_one_process:.1%} of one process; {beside:.1%} of CPU beside models")
    if arguments.json:
        figures = {
            "in_process": rates,
            "model_cpu_seconds_per_page": models,
            "jobs": jobs,
            "warm": {"pages_per_second": warm, "of_one_process": of_one_process, "beside_models": beside},
            "load": load,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
