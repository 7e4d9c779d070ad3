"""`ocrbatch dismiss`: failures that count no more."""

from __future__ import annotations

import argparse
import sys

from ocrbatch.cli.options import chosen_failures, failure_arguments, output_arguments, output_config, print_json
from ocrbatch.cli.streams import tell
from ocrbatch.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)
    failure_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Ends the failures that --only and --uri pick; without either there are none."""
    from ocrbatch.pipeline.dismiss import dismiss

    if not arguments.only and arguments.uri is None:
        raise UsageError("which failures are to be dismissed?", "Pick them by --only CODE, --uri GLOB (all: '*').")
    found = dismiss(output_config(arguments), chosen_failures(arguments), wait=arguments.wait, say=_say)
    if arguments.json:
        lists = {"dismissed": found.documents, "kept": found.kept}
        print_json({name: [{"uri": uri, "etag": etag} for uri, etag in keys] for name, keys in lists.items()})
        return 0
    tell(*(f"  {uri}" for uri, _ in found.documents))
    tell(f"Dismissed    failures of {len(found.documents)} document{'' if len(found.documents) == 1 else 's'}")
    tell("             a run that still lists one of them reads it again")
    if found.kept:
        tell("Kept         with failures of other codes, too:", *(f"  {uri}" for uri, _ in found.kept))
    return 0


def _say(line: str) -> None:
    tell(line, stream=sys.stderr)
