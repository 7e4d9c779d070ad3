"""`ocrbatch run`."""

from __future__ import annotations

import argparse
import sys

from ocrbatch.cli.options import job_arguments, job_config


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)
    parser.add_argument("--wait", action="store_true", help="wait for another run of the same output to end")


def execute(arguments: argparse.Namespace) -> int:
    """Runs the job, prints its summary, gives its exit code."""
    config = job_config(arguments)
    from ocrbatch.pipeline.run import run

    report = run(config, wait=arguments.wait, say=lambda line: print(line, file=sys.stderr))
    print(report.to_json() if arguments.json else f"\n{report}")
    return report.exit_code
