"""`ocrbatch retry`: failures that no run repeats, or not with these settings, tried again."""

from __future__ import annotations

import argparse

from ocrbatch.cli.options import chosen_failures, failure_arguments, output_arguments, output_config
from ocrbatch.cli.run import finish
from ocrbatch.config import JobConfig, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)
    failure_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Reads the failed pages again with the settings of the last run and what --set changes.

    Pages that are read now carry the fingerprint of these settings. The summary and the exit codes are those of `run`.
    """
    from ocrbatch.pipeline.run import run

    chosen = chosen_failures(arguments)
    config = _config(arguments)
    return finish(lambda say: run(config, wait=arguments.wait, say=say, retry=chosen), arguments.json)


def _config(arguments: argparse.Namespace) -> JobConfig:
    from ocrbatch.pipeline.worklist import last_settings
    from ocrbatch.storage import Storage

    given = output_config(arguments)
    settings = last_settings(Storage(given.output.storage), given.output.uri)
    return load(settings, arguments.overrides, "the last run's settings", {"output.uri": arguments.output})
