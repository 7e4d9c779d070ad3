"""`ocrbatch verify`: is each page there exactly once?"""

from __future__ import annotations

import argparse

from ocrbatch.cli.options import output_arguments, output_config, print_json
from ocrbatch.documents.pages import parse_pages


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    output_arguments(parser)
    parser.add_argument("--quick", action="store_true", help="compare names and sizes only, read no rows")


def execute(arguments: argparse.Namespace) -> int:
    """Compares the dataset with its log and with what the last run set out to read; exit code 4 where they differ."""
    config = output_config(arguments)
    from ocrbatch.pipeline.worklist import last_planned
    from ocrbatch.sinks.verify import verify
    from ocrbatch.storage import Storage

    storage = Storage(config.output.storage)
    planned = last_planned(storage, config.output.uri)
    selected = parse_pages(planned.pages).expected
    found = verify(storage, config.output.uri, planned=planned.keys, selected=selected, quick=arguments.quick)
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
                "notes": found.notes,
            }
        )
    else:
        print(f"Documents    {found.documents}")
        print(f"Pages        {found.pages} in {found.parts} parts, {found.staged} not published yet")
        print(f"Open         {sum(found.failures.values())} failures")
        for note in found.notes:
            print(f"note: {note}")
        for problem in found.problems:
            print(f"PROBLEM: {problem}")
        print("Each page is there exactly once." if found.ok else "The output breaks its promises.")
    return 0 if found.ok else 4
