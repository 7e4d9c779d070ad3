"""`ocrbatch status`: what an output holds."""

from __future__ import annotations

import argparse
from collections import Counter

from ocrbatch.cli.options import output_arguments, output_config, print_json
from ocrbatch.errors import FAILURE_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Reads the log alone, which is quick whatever the dataset's size; exit code 3 where failures are open."""
    config = output_config(arguments)
    from ocrbatch.sinks.commit import existing_ledger
    from ocrbatch.storage import Storage

    ledger = existing_ledger(Storage(config.output.storage), config.output.uri)
    failures = [(uri, index, state) for uri, _, index, state in ledger.open_failures()]
    codes = Counter((state.code, state.stage) for _, _, state in failures)
    if arguments.json:
        print_json(
            {
                "output": config.output.uri,
                "pages": ledger.page_total,
                "parts": len(ledger.published),
                "unpublished": not ledger.settled,
                "open_failures": {code: n for (code, _), n in codes.items()},
            }
        )
        return 3 if failures else 0
    parts = sum(path.startswith("pages/") for path in ledger.published)
    print(f"Pages        {ledger.page_total} in {parts} part{'' if parts == 1 else 's'}")
    if not ledger.settled:
        print("Unfinished   a run is at work, or was cut off: the next one publishes what it committed")
    print(f"Open         {len(failures)} failure{'' if len(failures) == 1 else 's'}")
    for (code, stage), count in codes.most_common():
        uri, index, _ = next(f for f in failures if f[2].code == code)
        page = "" if index is None else f" page {index + 1}"
        print(f"  {count} {code} ({stage}): {FAILURE_CODES[code].cause}")
        print(f"    for example {uri}{page}")
        print(f"    -> {FAILURE_CODES[code].remedy}")
    return 3 if failures else 0
