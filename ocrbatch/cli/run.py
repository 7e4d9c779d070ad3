"""`ocrbatch run`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable

from ocrbatch.cli.options import job_arguments, job_config, profile_argument
from ocrbatch.cli.streams import tell
from ocrbatch.errors import OcrBatchError
from ocrbatch.report.summary import RunReport


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)
    profile_argument(parser)
    parser.add_argument("--wait", action="store_true", help="wait for another run of the same output to end")


def execute(arguments: argparse.Namespace) -> int:
    """Runs the job, prints its summary, gives its exit code.

    With --json a run that is stopped or interrupted prints its report, too, before its error ends the command.
    """
    config = job_config(arguments)
    from ocrbatch.pipeline.run import run

    return finish(lambda say: run(config, wait=arguments.wait, say=say), arguments.json)


def finish(work: Callable[[Callable[[str], None]], RunReport], as_json: bool) -> int:
    """Does the work, which takes a function for its lines, prints its summary and gives its exit code."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Ray tells what befell its workers
            report = work(lambda line: tell(line, stream=sys.stderr))
    except OcrBatchError as error:
        if as_json and isinstance(error.report, RunReport):
            print(error.report.to_json())
        raise
    print(report.to_json() if as_json else f"\n{report}")
    return report.exit_code
