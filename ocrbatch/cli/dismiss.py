"""`ocrbatch dismiss`: failures that count no more."""

from __future__ import annotations

import argparse

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
    documents = dismiss(output_config(arguments), chosen_failures(arguments), wait=arguments.wait, say=tell)
    if arguments.json:
        print_json({"dismissed": [{"uri": uri, "etag": etag} for uri, etag in documents]})
    else:
        tell(*(f"  {uri}" for uri, _ in documents))
        tell(
            f"Dismissed    {len(documents)} document{'' if len(documents) == 1 else 's'}: their failures count no more"
        )
        tell("             a run that still lists one of them reads it again, so exclude what is to stay out")
    return 0
