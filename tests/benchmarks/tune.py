"""Does the tuner find the fastest settings, and soon? `python tests/benchmarks/tune.py DOCUMENTS` (`make tune-proof`).

A full sweep of the tuner's own grid, then the tuner, in one Ray and by the same probes; then the choice of each in
turns. Prints both tables, the choice's pages/s over those of the sweep's best, and the tuner's time over the sweep's;
writes them as JSON. Exit code 1 where the choice is more than 5% slower, or took more than a quarter of the time.
`--set` names keys that stay as they are, so it makes the grid smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ocrbatch.config import load
from ocrbatch.tuning.grid import described, needs, settings
from ocrbatch.tuning.search import Infeasible, full_sweep, search, size
from ocrbatch.tuning.tune import bench

SLOWER, LONGER = 0.95, 0.25


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", help="files or folders, as for --input")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=16.0, help="that each measurement counts")
    parser.add_argument("--turns", type=int, default=3, help="measurements of each choice at the end")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args(argv)
    config = load("", arguments.overrides, values={"input.uris": arguments.documents})
    load_before = os.getloadavg()[0]
    with bench(config, change_results=False, seconds=arguments.seconds, say=say) as (prober, grid):
        say("\nfull sweep")
        began = time.monotonic()
        swept = {p: rate for p, rate in full_sweep(grid, prober).items() if not isinstance(rate, Infeasible)}
        between = time.monotonic()
        sweep, prober.trials = prober.trials, []
        say("\ntuner")
        found = search(grid, prober, needs)
        ended = time.monotonic()
        tuned, prober.trials = prober.trials, []
        best = max(swept, key=swept.__getitem__)
        say("\nin turns: the tuner's choice, the sweep's best")
        turns = {point: [] for point in (found.point, best)}
        for _ in range(arguments.turns if found.point != best else 0):
            for point, rates in turns.items():
                rate = prober(point, None)
                rates.append(0.0 if isinstance(rate, Infeasible) else rate)
    speed = statistics.median(turns[found.point]) / statistics.median(turns[best]) if turns[best] else 1.0
    in_sweep = swept.get(found.point, 0.0) / swept[best]
    duration = (ended - between) / (between - began)
    figures = {
        "cpus": os.cpu_count(),
        "load": load_before,
        "points": size(grid),
        "choice": settings(found.point),
        "best": settings(best),
        "start_pages_per_second": found.start_rate,
        "choice_in_the_sweep": in_sweep,
        "choice_over_best": speed,
        "sweep_seconds": between - began,
        "tuner_seconds": ended - between,
        "tuner_over_sweep": duration,
        "sweep": [asdict(trial) for trial in sweep],
        "tuner": [asdict(trial) for trial in tuned],
        "turns": [asdict(trial) for trial in prober.trials],
    }
    say(f"\nsweep's best     {swept[best]:.2f} pages/s  {described(best)}")
    say(f"tuner's choice   {found.rate:.2f} pages/s  {described(found.point)}")
    say(f"choice over best {speed:.3f} of the pages/s (medians in turns); {in_sweep:.3f} in the sweep")
    say(f"tuner over sweep {duration:.3f} of the time ({ended - between:.0f} s of {between - began:.0f} s)")
    say(f"probes           {len(tuned)} of {len(sweep)}; without tuning {found.start_rate or 0:.2f} pages/s")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")
    return int(speed < SLOWER or duration > LONGER)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
