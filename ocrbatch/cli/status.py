"""`ocrbatch status`: what an output holds."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from typing import Final

from ocrbatch.cli.options import output_arguments, output_config, print_json
from ocrbatch.cli.streams import tell
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
    """Reads the log and what runs left beside it, and lists the parts, of which it reads none: so it is quick.

    Exit code 4 where the parts are not what the log says, 5 where a run, or one that is at work, has not come to its
    end; else 3 where failures are open.
    """
    config = output_config(arguments)
    from ocrbatch.pipeline.unfinished import unfinished
    from ocrbatch.pipeline.worklist import last_report
    from ocrbatch.sinks.verify import existing_ledger, require_files
    from ocrbatch.storage import Storage

    storage = Storage(config.output.storage)
    ledger = existing_ledger(storage, config.output.uri)
    require_files(storage, config.output.uri, ledger)
    last = last_report(storage, config.output.uri)
    left = unfinished(storage, config.output.uri, ledger)
    failures = list(ledger.open_failures())
    codes = Counter((state.code, state.stage) for *_, state in failures)
    code = 5 if left.lost or left.unlisted or not ledger.settled else 3 if failures else 0
    if arguments.json:
        print_json(
            {
                "output": config.output.uri,
                "pages": ledger.page_total,
                "parts": ledger.page_parts,
                "unpublished": not ledger.settled,
                "last_run": {name: last.get(name) for name in ("run_id", "outcome", "exit_code")},
                "missing": left.count,
                "unfinished_runs": (*left.unlisted, *left.runs),
                "open_failures": {name: n for (name, _), n in codes.items()},
                "failures": [
                    {"uri": uri, "etag": etag, "page_index": index, **asdict(state)}
                    for uri, etag, index, state in failures
                ],
            }
        )
        return code
    tell(f"Pages        {ledger.page_total} in {ledger.page_parts} part{'' if ledger.page_parts == 1 else 's'}")
    if not ledger.settled:
        tell("Unfinished   a run is at work, or was cut off: the next one publishes what it committed")
    if left.unlisted:
        tell("Unfinished   the last run had not listed all yet: run the same command again")
        if ledger.settled:  # else one may be at work
            tell(*(f"             or, if it is not wanted any more, delete {run}" for run in left.unlisted))
    if left.lost:
        tell(f"Unfinished   {left.count} documents or pages are still to be read: run the same command again")
        if ledger.settled:  # else it may be at work
            tell(*(f"             or, if they are not wanted any more, delete {run}" for run in left.runs))
    tell(f"Open         {len(failures)} failure{'' if len(failures) == 1 else 's'}")
    for (name, stage), count in codes.most_common():
        uri, _, index, _ = next(f for f in failures if f[3].code == name)
        page = "" if index is None else f" page {index + 1}"
        known = FAILURE_CODES.get(name, UNKNOWN)
        tell(f"  {count} {name} ({stage}): {known.cause}")
        tell(f"    for example {uri}{page}")
        tell(f"    -> {known.remedy}")
        tried = [state.attempt for *_, state in failures if state.code == name and state.retryable]
        if tried:
            tell(f"    tried {_range(tried)}: a run tries again what was tried less often than pipeline.attempts")
    if failures:
        output = config.output.uri
        tell("Next         replaced a file: run again, which reads changed files anew; mended something else:")
        tell(
            f"             `ocrbatch retry {output}`, with --only CODE, --set KEY=VALUE as it fits; deleted a file, or"
        )
        tell(f"             excluded it from the inputs: `ocrbatch dismiss {output} --uri GLOB`")
    return code


def _range(attempts: list[int]) -> str:
    least, most = min(attempts), max(attempts)
    return f"{least} to {most} times" if least < most else f"{most} time{'' if most == 1 else 's'}"
