"""What a page costs beside its decoding and reading, whether that stays so over a million, and the driver's memory.

`run` drives the real job over documents that cost almost nothing: one-page images, or TIFFs of a hundred pages, read by
the engine fake. It samples the CPU time of each process and the driver's memory while the log tells what is committed,
and fits a line through them: so a start costs nothing, and what is printed is what one more page costs. `listing`
lists objects that a fake S3 client names, sets them against a ledger that holds every other one, and writes the run's
manifest.

    python tests/benchmarks/scale.py run                                # 20,000 pages of each kind
    python tests/benchmarks/scale.py run --pages 1000000 --shards 10    # as ten inputs, into one output
    python tests/benchmarks/scale.py listing                            # 10,000,000 objects
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from scale_listing import listing

from ocrbatch.config import load
from ocrbatch.reading.reader import Reader

LIMIT_MS = 2.0
LIMIT_MIB = 2048
FRAMES = 100  # of a TIFF
LINKS = 30_000  # names of one file: a file system has a bound
FOLDER = 10_000  # files of a folder
SECONDS = 1.0  # between samples
READING_ROUNDS = 300
TICK = os.sysconf("SC_CLK_TCK")
ROLES = {
    "ocrbatch.documents.child": "decoder",
    "DecodeStage": "decode",
    "ReadStage": "read",
    "DetectStage": "read",
    "RecognizeStage": "read",
    "WriteStage": "write",
    "gcs_server": "gcs",
    "raylet/raylet": "raylet",
    "ocrbatch.cli.main": "driver",
}
FRAMEWORK = ("driver", "decode", "write", "gcs", "raylet", "other")


def page() -> np.ndarray:
    """A small page with one bar, which the engine fake takes for a line."""
    pixels = np.full((64, 256, 3), 255, np.uint8)
    pixels[24:40, 16:136] = 0
    return pixels


def make(folder: Path, kind: str, pages: int) -> None:
    """Fills a folder with documents of so many pages in all; most are further names of one file."""
    count, original = (pages, "png") if kind == "images" else (-(-pages // FRAMES), "tiff")
    source = folder
    for number in range(count):
        below = folder / f"{number // FOLDER:04d}"
        below.mkdir(parents=True, exist_ok=True)
        path = below / f"{number:08d}.{original}"
        if number % LINKS:
            os.link(source, path)
            continue
        source, image = path, Image.fromarray(page())
        if kind == "images":
            image.save(path)
        else:
            image.save(path, save_all=True, append_images=[image] * (FRAMES - 1))


@dataclass(slots=True)
class Sample:
    """At one moment: pages committed so far, CPU seconds by role since the start, memory of the driver in bytes."""

    seconds: float
    pages: int
    cpu: dict[str, float]
    rss: int
    pss: int


@dataclass(slots=True)
class Tree:
    """A process and all that came from it, those that have ended too as far as they were seen."""

    root: psutil.Process
    roles: dict[tuple[int, float], str] = field(default_factory=dict)
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    reaped: dict[tuple[int, float], float] = field(default_factory=dict)

    def look(self) -> dict[str, float]:
        """CPU seconds by role. What a decode worker has reaped were its decoders."""
        for process in [self.root, *self.root.children(recursive=True)]:
            try:
                key, times = (process.pid, process.create_time()), process.cpu_times()
                role = _role(process.cmdline())
            except psutil.Error:
                continue
            if self.roles.get(key, "other") == "other":
                self.roles[key] = role
            self.cpu[key] = times.user + times.system
            self.reaped[key] = times.children_user + times.children_system
        found: dict[str, float] = defaultdict(float)
        alive = {pid for pid, _ in self.cpu if psutil.pid_exists(pid)}
        for key, role in self.roles.items():
            if role != "decoder" or key[0] in alive:  # else its worker has reaped it
                found[role] += self.cpu[key]
            if role == "decode":
                found["decoder"] += self.reaped[key]
        return dict(found)


def _role(command: list[str]) -> str:
    text = " ".join(command)
    return next((role for sign, role in ROLES.items() if sign in text), "other")


@dataclass(slots=True)
class Log:
    """Pages that an output's log has committed, and what it took."""

    folder: Path
    next: int = 0
    pages: int = 0
    adds: int = 0
    parts: int = 0

    def look(self) -> int:
        """Reads on."""
        while (path := self.folder / f"{self.next:012d}.json").exists():
            record = json.loads(path.read_bytes())
            self.next += 1
            if record["type"] == "add":
                self.adds += 1
                self.parts += len(record["parts"])
                self.pages += sum(part["rows"] for part in record["parts"] if part["kind"] == "pages")
        return self.pages


def drive(source: Path, output: Path, overrides: list[str]) -> tuple[dict[str, Any], list[Sample], Log]:
    """One run of the command; its report, and what was seen meanwhile."""
    line = [sys.executable, "-m", "ocrbatch.cli.main", "run", "--json", "--input", str(source), "--output", str(output)]
    line += [word for item in ["engine.name=fake", *overrides] for word in ("--set", item)]
    log, samples, started = Log(output / "_ocrbatch" / "log"), [], time.monotonic()
    before = log.look()
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        tree = Tree(psutil.Process(job.pid))
        while job.poll() is None:
            try:
                cpu, memory = tree.look(), tree.root.memory_full_info()
            except psutil.Error:
                break
            samples.append(Sample(time.monotonic() - started, log.look() - before, cpu, memory.rss, memory.pss))
            time.sleep(SECONDS)
        printed, told = job.communicate()
    log.look()
    if job.returncode:
        raise SystemExit(f"the run ended with {job.returncode}: {told[-2000:]}")
    return json.loads(printed), samples, log


def reading_ms(overrides: list[str]) -> float:
    """CPU milliseconds of one page in the reader itself: detection, the engine, recognition, without Ray."""
    config = load("", ["engine.name=fake", *overrides])
    reader, pages = Reader.load(config, 1), [page()] * config.pipeline.page_batch
    reader.read(pages)
    started = time.process_time()
    for _ in range(READING_ROUNDS):
        reader.read(pages)
    return 1000 * (time.process_time() - started) / READING_ROUNDS / len(pages)


def slope(samples: list[Sample], value: Any) -> float:
    """Of a line through (pages, value): what one more page adds."""
    pages = np.array([sample.pages for sample in samples], float)
    values = np.array([value(sample) for sample in samples], float)
    return float(np.polyfit(pages, values, 1)[0]) if len(set(pages)) > 1 else float("nan")


def figures(samples: list[Sample], reading: float) -> dict[str, Any]:
    """What one more page costs, over all and in each quarter; only the samples at which something new is committed."""
    steps = [after for before, after in pairwise(samples) if after.pages > before.pages]
    names = sorted({role for sample in steps for role in sample.cpu})
    cost = {name: 1000 * slope(steps, lambda s, n=name: s.cpu.get(n, 0.0)) for name in names}

    def framework(some: list[Sample]) -> float:
        total = sum(1000 * slope(some, lambda s, n=name: s.cpu.get(n, 0.0)) for name in names if name != "decoder")
        return total - reading

    quarter = max(2, len(steps) // 4)
    return {
        "cpu_ms_a_page": {name: round(value, 3) for name, value in cost.items()},
        "reading_ms_a_page": round(reading, 3),
        "framework_ms_a_page": round(framework(steps), 3),
        "framework_ms_by_quarter": [round(framework(steps[i : i + quarter]), 3) for i in _starts(steps, quarter)],
        "pages_a_second": round(1 / slope(steps, lambda s: s.seconds), 1),
        "driver_rss_mib": round(max(s.rss for s in samples) / 2**20, 1),
        "driver_pss_mib": round(max(s.pss for s in samples) / 2**20, 1),
        "driver_bytes_a_page": round(slope(steps, lambda s: s.rss)),
    }


def _starts(steps: list[Sample], quarter: int) -> Iterator[int]:
    yield from range(0, len(steps) - quarter + 1, quarter)


def measure(kind: str, pages: int, shards: int, overrides: list[str], scratch: Path) -> list[dict[str, Any]]:
    """Runs over so many pages, a shard's after another's, all into one output."""
    reading, found, output = reading_ms(overrides), [], scratch / f"out-{kind}"
    for shard in range(shards):
        source = scratch / f"{kind}-{shard}"
        make(source, kind, pages // shards)
        report, samples, log = drive(source, output, overrides)
        found.append(
            {"kind": kind, "shard": shard, "pages": report["pages"], "seconds": samples[-1].seconds}
            | figures(samples, reading)
            | {"cpu_seconds_in_all": samples[-1].cpu, "log_records": log.next, "adds": log.adds, "parts": log.parts}
            | {"samples": [[s.seconds, s.pages, s.rss, s.cpu] for s in samples]}
        )
        show(found[-1])
    return found


def show(found: dict[str, Any]) -> None:
    """One run as a table."""
    each = ", ".join(f"{name} {value:.2f}" for name, value in found["cpu_ms_a_page"].items())
    print(f"{found['kind']}, shard {found['shard']}: {found['pages']:,} pages in {found['seconds']:.0f} s")
    print(f"  CPU ms a page       {each}")
    print(f"  of it the reading   {found['reading_ms_a_page']:.2f}")
    print(f"  framework           {found['framework_ms_a_page']:.2f}, by quarters {found['framework_ms_by_quarter']}")
    print(f"  pages a second      {found['pages_a_second']:.0f}")
    print(f"  driver              {found['driver_rss_mib']:.0f} MiB, {found['driver_bytes_a_page']} bytes a page")
    print(f"  log                 {found['log_records']} records, {found['parts']} staged files", flush=True)


def main() -> int:
    """Prints a table; exit code 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["run", "listing"])
    parser.add_argument("--kind", choices=["images", "frames"], action="append")
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--objects", type=int, default=10_000_000)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.part == "listing":
            results, kept = listing(arguments.objects, Path(scratch))
        else:
            kinds = arguments.kind or ["images", "frames"]
            args = (arguments.pages, arguments.shards, arguments.overrides, Path(scratch))
            results = [found for kind in kinds for found in measure(kind, *args)]
            kept = all(
                found["framework_ms_a_page"] <= LIMIT_MS and found["driver_rss_mib"] < LIMIT_MIB for found in results
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
