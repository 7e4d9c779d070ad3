"""`ocrbatch run`."""

from __future__ import annotations

import argparse
import sys

from ocrbatch.cli.options import job_arguments, job_config
from ocrbatch.errors import OcrBatchError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)
    parser.add_argument("--wait", action="store_true", help="wait for another run of the same output to end")


def execute(arguments: argparse.Namespace) -> int:
    """Runs the job, prints its summary, gives its exit code.

    With --json a run that is stopped or interrupted prints its report, too, before its error ends the command.
    """
    config = job_config(arguments)
    from ocrbatch.pipeline.run import run
    from ocrbatch.report.summary import RunReport

    try:
        report = run(config, wait=arguments.wait, say=lambda line: print(line, file=sys.stderr))
    except OcrBatchError as error:
        if arguments.json and isinstance(error.report, RunReport):
            print(error.report.to_json())
        raise
    print(report.to_json() if arguments.json else f"\n{report}")
    return report.exit_code
