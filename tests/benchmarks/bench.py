"""How quick is ocrbatch beside its peers? `python tests/benchmarks/bench.py DOCUMENTS` (`make bench`).

Every contestant reads the same pages in a process of its own, decoded and warmed before the clock starts; they take
turns, so that a machine that slows down slows all of them. Prints pages/s, CPU seconds a page, peak memory of the
process tree (the decoded pages within), word F1 and lines, each a median over the rounds with its ratio to ocrbatch in
one process. Environments and weights of the peers are made below build/bench where they are missing, never elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_pages import BenchPage, bench_pages
from bench_table import Figures, Standing, medians, ratios, table
from environments import environment, model_folders, surroundings
from processes import watched

from ocrbatch.errors import OcrBatchError
from ocrbatch.evaluation.metrics import WordF1

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build/bench"
LOAD = 0.5  # above it figures are off
OURS = "ocrbatch"


@dataclass(frozen=True, slots=True)
class Contestant:
    """program: in contestants/. environment, requirements: of a peer; None for the environment that this runs in.

    precision: of ocrbatch in one process; "" for what it chooses.
    """

    name: str
    program: str
    engine: str
    weights: str = "PP-OCRv6_small"
    environment: str | None = None
    requirements: tuple[str, ...] = ()
    remark: str = ""
    precision: str = ""


PADDLEOCR = ("paddleocr==3.7.0",)
RAPIDOCR = ("rapidocr==3.10.0", "onnxruntime", "openvino")
CONTESTANTS = (
    Contestant(OURS, "ocrbatch_.py", "auto", remark="in one process"),
    Contestant("ocrbatch-fp32", "ocrbatch_.py", "auto", remark="in one process", precision="fp32"),
    Contestant("ocrbatch-job", "job_.py", "auto", remark="whole job, models' loading within; CPU and memory of all"),
    Contestant(
        "paddleocr-onnxruntime", "paddleocr_.py", "onnxruntime", "PP-OCRv6_small", "paddleocr",
        (*PADDLEOCR, "onnxruntime"),
    ),
    Contestant(
        "paddleocr-paddle", "paddleocr_.py", "paddle", "PP-OCRv4_mobile", "paddleocr-paddle",
        (*PADDLEOCR, "paddlepaddle>=3.2,<3.3"), "OTHER WEIGHTS, for lack of these in its format",
    ),
    Contestant("rapidocr-onnxruntime", "rapidocr_.py", "onnxruntime", "PP-OCRv6_small", "rapidocr", RAPIDOCR),
    Contestant("rapidocr-openvino", "rapidocr_.py", "openvino", "PP-OCRv6_small", "rapidocr", RAPIDOCR),
)  # fmt: skip


class Lane:
    """A contestant on its way: its laps so far, or why there are no more. Failures end a lane, not the benchmark."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.failure = ""
        self.laps: list[Figures] = []
        self.reports: list[dict[str, Any]] = []
        self._python, self._weights, self._surroundings = Path(sys.executable), Path(), dict(os.environ)

    def prepare(self) -> None:
        contestant = self.contestant
        if contestant.environment is None:
            return
        try:
            self._surroundings = surroundings(BUILD / "home")
            self._python = environment(BUILD / contestant.environment, contestant.requirements)
            self._weights = model_folders(contestant.weights, BUILD / "models")
        except (OSError, OcrBatchError, subprocess.CalledProcessError) as error:
            self.failure = f"can't be prepared: {reason(error)}"

    def lap(self, pages: Sequence[BenchPage]) -> None:
        """Runs one lap; its figures, or why it failed, are added."""
        paths = [str(page.path) for page in pages]
        entry = {"engine": self.contestant.engine, "precision": self.contestant.precision}
        entry |= {"weights": str(self._weights), "pages": paths}
        with tempfile.TemporaryDirectory() as folder:
            given, left = Path(folder, "entry.json"), Path(folder, "report.json")
            given.write_text(json.dumps(entry), encoding="utf8")
            program = HERE / "contestants" / self.contestant.program
            done, tree = watched([self._python, program, given, left], self._surroundings)
            if done.returncode:
                self.failure = f"failed: {last_line(done.stderr)}"
                print(done.stderr, file=sys.stderr)
                return
            report = json.loads(left.read_text(encoding="utf8"))
        texts = report.pop("texts")
        self.reports.append(report)
        self.laps.append(
            {
                "pages_per_second": len(pages) / report["seconds"],
                "cpu_seconds_per_page": report.get("cpu_seconds", tree.cpu_seconds) / len(pages),
                "peak_mib": tree.peak_bytes / 2**20,
                "word_f1": word_f1(pages, texts),
                "lines": sum(map(len, texts)),
            }
        )

    def standing(self, ours: Sequence[Figures]) -> Standing:
        contestant = self.contestant
        if self.failure or not self.laps:
            return Standing(contestant.name, {}, {}, self.failure or "no lap")
        versions = ", ".join(f"{name} {version}" for name, version in self.reports[-1]["versions"].items())
        told = [contestant.weights, contestant.remark, self.reports[-1].get("remark"), versions]
        remark = "; ".join(filter(None, told))
        return Standing(contestant.name, medians(self.laps), ratios(self.laps, ours), remark=remark)


def word_f1(pages: Sequence[BenchPage], texts: Sequence[Sequence[str]]) -> float | None:
    """Over the pages whose truth is known; None where there are none."""
    score = WordF1()
    for page, lines in zip(pages, texts, strict=True):
        if page.truth is not None:
            score.update(page.truth, "\n".join(lines))
    summary = score.summary()
    return summary.f1 if summary.pages else None


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed((text or "").splitlines()) if line.strip()), "it said nothing")


def reason(error: Exception) -> str:
    return last_line(error.stderr) if isinstance(error, subprocess.CalledProcessError) else str(error)


def stages(lanes: Sequence[Lane]) -> dict[str, float]:
    """Seconds a page in each part of ocrbatch in one process, medians over the rounds."""
    found = [report["stages"] for lane in lanes if lane.contestant.name == OURS for report in lane.reports]
    return {part: statistics.median(each[part] for each in found) for part in (found[0] if found else {})}


def plot(figures: Path, target: Path) -> None:
    try:
        command = [environment(BUILD / "plot", ("matplotlib",)), HERE / "bench_plot.py", figures, target]
        subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings(BUILD / "home"))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no plot: {reason(error)}", file=sys.stderr)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path, help="folder of images and PDFs")
    parser.add_argument("--truth", type=Path, help="JSON: image's file name -> its lines; PDFs have their text layer")
    parser.add_argument("--pages", type=int, metavar="N", help="of each document the first N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=[each.name for each in CONTESTANTS], help="repeatable")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="where to draw the speeds")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parsed(argv)
    load = os.getloadavg()[0]
    if load > LOAD:
        print(f"the machine is busy (load {load:.1f}): figures will be off", file=sys.stderr)
    truth = json.loads(arguments.truth.read_text(encoding="utf8")) if arguments.truth else {}
    lanes = [Lane(each) for each in CONTESTANTS if not arguments.only or each.name in arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        pages = bench_pages(arguments.documents, Path(folder), arguments.pages, truth)
        if not pages:
            print(f"no page could be read in {arguments.documents}", file=sys.stderr)
            return 2
        decoded = 3 * sum(page.pixels for page in pages) / 2**20
        known = sum(page.truth is not None for page in pages)
        for lane in lanes:
            lane.prepare()
        print(f"{len(pages)} pages ({decoded:,.0f} MiB decoded, truth of {known}), {os.cpu_count()} CPUs")
        print(f"medians over the rounds ({arguments.rounds}); x: median of the rounds' ratios to {OURS}", flush=True)
        for number in range(1, arguments.rounds + 1):
            for lane in lanes:
                if not lane.failure:
                    print(f"round {number}, {lane.contestant.name}", file=sys.stderr, flush=True)
                    lane.lap(pages)
    ours = next((lane.laps for lane in lanes if lane.contestant.name == OURS), [])
    standings = [lane.standing(ours) for lane in lanes]
    print(table(standings))
    if parts := stages(lanes):
        print(f"\n{OURS}, seconds a page: " + ", ".join(f"{part} {spent:.3f}" for part, spent in parts.items()))
    figures = {
        "pages": len(pages), "pages_with_truth": known, "decoded_mib": decoded, "cpus": os.cpu_count(), "load": load,
        "rounds": arguments.rounds, "stages": parts,
        "contestants": {
            lane.contestant.name: asdict(standing)
            | {"weights": lane.contestant.weights, "laps": lane.laps, "reports": lane.reports}
            for lane, standing in zip(lanes, standings, strict=True)
        },
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        target = arguments.json or Path(folder, "bench.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")
        if arguments.plot:
            arguments.plot.parent.mkdir(parents=True, exist_ok=True)
            plot(target, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
