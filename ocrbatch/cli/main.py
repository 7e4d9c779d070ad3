"""`ocrbatch VERB`: parses, runs the verb, and turns errors into one clear message and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from ocrbatch import __version__
from ocrbatch.cli.streams import lasting, tell
from ocrbatch.errors import OcrBatchError
from ocrbatch.report.escaping import escaped

VERBS: Final = {
    "run": "read documents and write the dataset",
    "plan": "say what a run would do, and do nothing",
    "status": "say what an output holds, and which failures are open",
    "verify": "check that each page is in the output exactly once",
    "retry": "read failed pages again that no run repeats by itself",
    "dismiss": "end the failures of files that were deleted or excluded",
    "show": "draw a page's polygons and texts over it, as a PNG",
    "tune": "find the fastest settings for a sample on this machine",
    "models": "list, fetch and check the weights",
    "config": "show every key, its meaning and its value",
    "doctor": "check this machine: engines, weights, libraries",
}

EXIT_CODES: Final = """exit codes:
  0  all done                            4  the output is locked or inconsistent
  2  bad usage or config                 5  stopped early; the same command resumes
  3  done, some pages failed      129, 130, 143  interrupted; the same command resumes"""


def program(argv: Sequence[str] | None = None) -> NoReturn:
    """`main` as a process, which ends with its exit code at once.

    Python's own way out waits for native libraries' threads and unloads them; on a loaded machine that ended some
    commands, whose work was done, by an abort.
    """
    os._exit(main(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    with lasting():
        return _execute(list(sys.argv[1:] if argv is None else argv))


def _execute(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="ocrbatch",
        description="Batch OCR of images and PDFs into Parquet.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ocrbatch {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for verb, text in VERBS.items():
        sub = verbs.add_parser(
            verb, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if verb == chosen:
            module = importlib.import_module(f"ocrbatch.cli.{verb}")
            module.arguments(sub)
            sub.add_argument("--json", action="store_true", help="print JSON for programs")
            sub.set_defaults(execute=module.execute)
    arguments, strange = parser.parse_known_args(words)
    if strange:
        hint = "; --input takes one: quote a glob, or the shell puts the files in its place" * hasattr(
            arguments, "input"
        )
        parser.error(f"unrecognized arguments: {escaped(' '.join(strange))}{hint}")
    handler = logging.StreamHandler()
    handler.setFormatter(_EscapingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        code: int = arguments.execute(arguments)
    except OcrBatchError as error:
        print(file=sys.stderr)
        tell(f"error: {error}", stream=sys.stderr)
        if error.remedy:
            tell(f"  -> {error.remedy}", stream=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return code


class _EscapingFormatter(logging.Formatter):
    """Messages on one line each, as `tell` has them; a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return escaped(super().formatMessage(record))


if __name__ == "__main__":
    program()
