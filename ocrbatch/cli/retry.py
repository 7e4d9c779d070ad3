"""`ocrbatch retry`: failures that no run repeats, or not with these settings, tried again."""

from __future__ import annotations

import argparse

from ocrbatch.cli.options import output_arguments, output_config
from ocrbatch.cli.run import finish
from ocrbatch.config import JobConfig, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)
    parser.add_argument("--only", action="append", default=[], metavar="CODE",
                        help="failures with this code; may be repeated; all by default")  # fmt: skip
    parser.add_argument("--uri", metavar="GLOB", help="failures of documents whose URI it matches")
    parser.add_argument("--wait", action="store_true", help="wait for another run of the same output to end")


def execute(arguments: argparse.Namespace) -> int:
    """Reads the failed pages again with the settings of the last run and what --set changes.

    Pages that are read now carry the fingerprint of these settings. The summary and the exit codes are those of `run`.
    """
    from ocrbatch.pipeline.retry import Chosen
    from ocrbatch.pipeline.run import run

    chosen = Chosen(tuple(arguments.only), arguments.uri)
    chosen.check()
    config = _config(arguments)
    return finish(lambda say: run(config, wait=arguments.wait, say=say, retry=chosen), arguments.json)


def _config(arguments: argparse.Namespace) -> JobConfig:
    from ocrbatch.pipeline.worklist import last_settings
    from ocrbatch.storage import Storage

    given = output_config(arguments)
    settings = last_settings(Storage(given.output.storage), given.output.uri)
    return load(settings, arguments.overrides, "the last run's settings", {"output.uri": arguments.output})
