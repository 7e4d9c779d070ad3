"""The real command as a process, and work for it that goes at a known pace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGES = 24
# One worker of each kind, so that the pace is the engine's on every machine: four tasks of six pages, each a commit.
FAKE = ["engine.name=fake", "pipeline.layout=fused", "pipeline.decoders=1", "pipeline.readers=1"]
FAKE += ["pipeline.page_batch=2", "output.commit_seconds=0.2"]
SLOW = [*FAKE, "engine.options={seconds: 0.2}"]  # a page has two rows, so a task takes 2.4 s


class Command(subprocess.Popen[bytes]):
    """`ocrbatch run`, in a process group of its own; what it prints goes to two files."""

    def __init__(self, folder: Path, source: object, output: object, settings: Sequence[str], words: Sequence[str]):
        self.printed, self.told = folder / "printed", folder / "told"
        line = [sys.executable, "-m", "ocrbatch.cli.main", "run", "--input", str(source), "--output", str(output)]
        line += [*words, *(word for item in settings for word in ("--set", item))]
        with self.printed.open("wb") as stdout, self.told.open("wb") as stderr:
            super().__init__(line, start_new_session=True, stdout=stdout, stderr=stderr)

    @property
    def said(self) -> str:
        """What it has told a person so far."""
        return self.told.read_text()


def log(output: Path) -> list[bytes]:
    """The records in an output's log."""
    return [path.read_bytes() for path in (output / "_ocrbatch" / "log").glob("*.json")]


def commits(records: Iterable[bytes]) -> int:
    """How many of a log's records commit results."""
    return sum(b'"type":"add"' in record for record in records)
