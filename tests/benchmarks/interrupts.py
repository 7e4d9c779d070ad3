"""How long does a run take to end after Ctrl-C or SIGTERM? `python tests/benchmarks/interrupts.py [DOCUMENTS ...]`

Starts the job, sends the signal at each of several moments, and prints the seconds until it has ended, its exit code,
and what it left committed and published. Also written as JSON with --json. Without DOCUMENTS it makes a hundred pages.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory import make_pdf

PROMISED = 15.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)
NO_RECORD = "000000000000.json"


def records(output: Path, kind: str) -> int:
    """How many records of a kind the output's log holds."""
    marked = f'"type":"{kind}"'.encode()
    return sum(marked in path.read_bytes() for path in (output / "_ocrbatch" / "log").glob("*.json"))


def since(seconds: float) -> Callable[[Path, float], bool]:
    return lambda _, started: time.monotonic() - started >= seconds


def held(kind: str, count: int) -> Callable[[Path, float], bool]:
    return lambda output, _: records(output, kind) >= count


MOMENTS: dict[str, Callable[[Path, float], bool]] = {
    "1 s after its start": since(1),
    "3 s after its start": since(3),
    "when it has the output": held("open", 1),
    "2 s after that": lambda output, started: held("open", 1)(output, started) and _waited(output, 2),
    "4 s after that": lambda output, started: held("open", 1)(output, started) and _waited(output, 4),
    "at the first commit": held("add", 1),
    "at the third commit": held("add", 3),
}


def _waited(output: Path, seconds: float) -> bool:
    return time.time() - (output / "_ocrbatch" / "log" / NO_RECORD).stat().st_mtime >= seconds


def interrupt(inputs: list[str], output: Path, moment: str, number: signal.Signals) -> dict[str, Any]:
    """One run, one signal."""
    line = [sys.executable, "-m", "ocrbatch.cli.main", "run", "--output", str(output)]
    line += ["--set", "output.commit_seconds=1", *(word for uri in inputs for word in ("--input", uri))]
    started = time.monotonic()
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as job:
        while not MOMENTS[moment](output, started):
            if job.poll() is not None:
                raise RuntimeError(f"the run ended with {job.returncode} before the moment: give it more documents")
            time.sleep(0.02)
        sent = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(job.pid, number)  # as a terminal does
        else:
            job.send_signal(number)
        code = job.wait()
        seconds = time.monotonic() - sent
    parts = len(list((output / "pages").glob("*.parquet")))
    return {
        "moment": moment, "signal": number.name, "seconds": round(seconds, 2), "exit_code": code,
        "commits": records(output, "add"), "parts": parts, "closed": records(output, "close") > 0,
    }  # fmt: skip


def ended_by(number: signal.Signals) -> tuple[int, int]:
    """Exit codes of a process that a signal has ended."""
    return 128 + number, -number


def main() -> int:
    """Prints a table; exit code 1 where a run took longer than promised, or ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not arguments.documents:
            make_pdf(folder / "100.pdf", 100)
        inputs = arguments.documents or [str(folder / "100.pdf")]
        print(f"{'moment':<24} {'signal':<8} {'seconds':>7} {'exit':>5} {'commits':>7} {'parts':>6}")
        for number in SIGNALS:
            for moment in MOMENTS:
                found = interrupt(inputs, folder / f"{number.name}-{len(results)}", moment, number)
                results.append(found)
                print(f"{moment:<24} {number.name:<8} {found['seconds']:>7.1f} {found['exit_code']:>5} "
                      f"{found['commits']:>7} {found['parts']:>6}", flush=True)  # fmt: skip
    longest = max(result["seconds"] for result in results)
    print(f"longest: {longest:.1f} s (promised: {PROMISED:g})")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))
    # Before it can catch anything the signal itself ends it, which a shell shows by the same number.
    ended = all(result["exit_code"] in ended_by(signal.Signals[result["signal"]]) for result in results)
    return int(longest > PROMISED or not ended)


if __name__ == "__main__":
    sys.exit(main())
