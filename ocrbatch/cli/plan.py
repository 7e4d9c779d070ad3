"""`ocrbatch plan`: what a run would do; writes nothing and starts no Ray."""

from __future__ import annotations

import argparse

from ocrbatch.cli.options import job_arguments, job_config, print_json, profile_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)
    profile_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Lists the inputs, sets them against the output's log, and says what is left."""
    config = job_config(arguments)
    from ocrbatch.pipeline.preview import preview

    found = preview(config)
    if arguments.json:
        print_json(found.tree())
    else:
        print(found)
    return 0
