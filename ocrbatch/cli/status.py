"""`ocrbatch status`: what an output holds."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Final

from ocrbatch.cli.options import output_arguments, output_config, print_json
from ocrbatch.errors import FAILURE_CODES, FailureCode

UNKNOWN: Final = FailureCode(
    "",
    "",
    False,
    "a code that this version of ocrbatch does not know",
    "See its rows in failures/, or update ocrbatch.",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Reads the log and the last run's report, quick whatever the dataset's size; exit code 3: open failures."""
    config = output_config(arguments)
    from ocrbatch.pipeline.worklist import last_outcome
    from ocrbatch.sinks.commit import existing_ledger
    from ocrbatch.storage import Storage

    storage = Storage(config.output.storage)
    ledger = existing_ledger(storage, config.output.uri)
    run, outcome = last_outcome(storage, config.output.uri)
    failures = [(uri, index, state) for uri, _, index, state in ledger.open_failures()]
    codes = Counter((state.code, state.stage) for _, _, state in failures)
    if arguments.json:
        print_json(
            {
                "output": config.output.uri,
                "pages": ledger.page_total,
                "parts": ledger.page_parts,
                "unpublished": not ledger.settled,
                "last_run": {"run_id": run, "outcome": outcome or None},
                "open_failures": {code: n for (code, _), n in codes.items()},
            }
        )
        return 3 if failures else 0
    print(f"Pages        {ledger.page_total} in {ledger.page_parts} part{'' if ledger.page_parts == 1 else 's'}")
    if not ledger.settled:
        print("Unfinished   a run is at work, or was cut off: the next one publishes what it committed")
    elif outcome in ("interrupted", "stopped"):
        print(f"Last run     {run} was {outcome} before its end: the same command does what it left")
    print(f"Open         {len(failures)} failure{'' if len(failures) == 1 else 's'}")
    for (code, stage), count in codes.most_common():
        uri, index, _ = next(f for f in failures if f[2].code == code)
        page = "" if index is None else f" page {index + 1}"
        known = FAILURE_CODES.get(code, UNKNOWN)
        print(f"  {count} {code} ({stage}): {known.cause}")
        print(f"    for example {uri}{page}")
        print(f"    -> {known.remedy}")
        tried = [state.attempt for _, _, state in failures if state.code == code and state.retryable]
        if tried:
            print(f"    tried {_range(tried)}: a run tries again what was tried less often than pipeline.attempts")
    if failures:
        print("Next         replaced a file: run again, which reads changed files anew; mended something else:")
        print(f"             `ocrbatch retry {config.output.uri}`, with --only CODE, --set KEY=VALUE as it fits")
    return 3 if failures else 0


def _range(attempts: list[int]) -> str:
    least, most = min(attempts), max(attempts)
    return f"{least} to {most} times" if least < most else f"{most} time{'' if most == 1 else 's'}"
