"""Standard output and error that outlive their reader: `ocrbatch run ... 2>&1 | head` still reads every page.

Invariant: a stream that can't be written (its reader closed the pipe, its disk is full, it was never open) changes
neither what a verb does nor its exit code. Standard error tells of output that was lost otherwise than by its reader.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from ocrbatch.report.escaping import escaped


class _Lasting:
    """A text stream whose writes never fail; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # What the stream still holds goes nowhere, too: else Python's last flush fails, and makes the exit code 120.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and self is not sys.stderr:
            print(f"standard output could not be written: {error.strerror}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def tell(*lines: str, stream: TextIO | None = None) -> None:
    """Prints lines for people, each on one line whatever it quotes. stream: standard output if left out."""
    for line in lines:
        print(escaped(line), file=stream)


@contextmanager
def lasting() -> Iterator[None]:
    """`sys.stdout` and `sys.stderr` as lasting streams for the length of a `with`, at whose end they are flushed."""
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:  # None is what Python makes of `2>&-`
        sys.stdout, sys.stderr = (cast(TextIO, _Lasting(stream or nowhere)) for stream in before)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before
