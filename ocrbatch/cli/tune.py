"""`ocrbatch tune`: the fastest settings for a sample on this machine, as a profile."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Final

from ocrbatch.cli.options import job_arguments, job_config, print_json
from ocrbatch.cli.streams import tell

MOST_SECONDS: Final = 3600.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)
    parser.add_argument("--output-profile", default="profile.yaml", metavar="FILE",
                        help="where to write the profile (profile.yaml)")  # fmt: skip
    parser.add_argument("--seconds", type=_seconds, default=16.0, metavar="N",
                        help="seconds that a measurement counts, once its workers are warm (16)")  # fmt: skip
    told = "try what gives other results, too: engine.precision, and on GPUs recognition.batch_pixels"
    parser.add_argument("--change-results", action="store_true", help=told)


def execute(arguments: argparse.Namespace) -> int:
    """Measures settings, prints a line for each, and writes the profile. An output that is named is left alone."""
    config = job_config(arguments)
    from ocrbatch.tuning.tune import tune

    path = Path(arguments.output_profile)
    with contextlib.redirect_stdout(sys.stderr):  # where Ray tells what befell its workers
        tuned = tune(
            config,
            path,
            change_results=arguments.change_results,
            seconds=arguments.seconds,
            say=lambda line: tell(line, stream=sys.stderr),
        )
    if arguments.json:
        print_json(tuned.tree())
    else:
        tell(*str(tuned).splitlines())
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError
    return seconds
