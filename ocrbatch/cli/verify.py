"""`ocrbatch verify`: is each page there exactly once?"""

from __future__ import annotations

import argparse

from ocrbatch.cli.options import output_arguments, output_config, print_json
from ocrbatch.cli.streams import tell


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)
    parser.add_argument("--quick", action="store_true", help="compare names and sizes only, read no rows")


def execute(arguments: argparse.Namespace) -> int:
    """Compares the dataset with its log, and with what the runs set out to read.

    Exit code 4 where a promise is broken, 5 where all is well so far but a run was stopped before its end.
    """
    config = output_config(arguments)
    from ocrbatch.pipeline.unfinished import unfinished
    from ocrbatch.sinks.commit import read_ledger
    from ocrbatch.sinks.verify import verify
    from ocrbatch.storage import Storage

    storage = Storage(config.output.storage)
    found = verify(storage, config.output.uri, quick=arguments.quick)
    ledger = read_ledger(storage, config.output.uri)
    left = unfinished(storage, config.output.uri, ledger, recheck=True)
    found.settled = found.settled and ledger.settled  # a run may have begun meanwhile
    found.account(left.lost)
    if not left.known:
        found.notes.append("no run has left word of what it was asked for, so whether all of that is here is not known")
    if left.unlisted:
        found.unfinished.append("what the last run would have read: it was stopped before it had listed that")
    if not found.settled and not found.unfinished:
        found.unfinished.append("a run that is at work, or was cut off before its end")
    if arguments.json:
        print_json(
            {
                "ok": found.ok,
                "documents": found.documents,
                "pages": found.pages,
                "unpublished": found.staged,
                "parts": found.parts,
                "open_failures": dict(found.failures),
                "missing": found.missing,
                "problems": found.problems,
                "unfinished": found.unfinished,
                "notes": found.notes,
            }
        )
    else:
        tell(f"Documents    {found.documents}, counting each version of a changed file")
        parts = f"{found.parts} part{'' if found.parts == 1 else 's'}"
        tell(f"Pages        {found.pages} in {parts}, {found.staged} not published yet")
        failures = sum(found.failures.values())
        tell(f"Open         {failures} failure{'' if failures == 1 else 's'}")
        tell(*(f"note: {note}" for note in found.notes))
        tell(*(f"PROBLEM: {problem}" for problem in found.problems))
        if found.unfinished:
            missing = f"{found.missing} documents or pages" if found.missing else "not all"
            tell(f"Unfinished   {missing} that a run set out to read")
            tell(*(f"  {line}" for line in found.unfinished))
            tell(f"  -> run the same command again{'' if found.settled else ', once no run is at work'}")
            if found.settled:  # else it may be at work
                tell(*(f"  -> or, if it is not wanted any more, delete {run}" for run in (*left.unlisted, *left.runs)))
        if not found.ok:
            tell("The output breaks its promises.")
            tell(
                "  -> restore what is gone or changed from a backup or a bucket's older versions; without one, take "
                "another output"
            )
        elif not found.unfinished:
            tell("Each page is there exactly once.")
    return 4 if not found.ok else 5 if found.unfinished else 0
