"""Workers that hold models, with a witness: each notes when it began, and each batch that it has finished.

The notes are files of this machine, one a process, whose lines are the clock (`time.monotonic`, the same in all
processes of a machine) and the number of pages.
Invariant: a worker's first note comes before its models load, so more notes than workers tell that one has died.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.pipeline.build import Stages
from ocrbatch.stages.base import PAGE
from ocrbatch.stages.batches import unpacked
from ocrbatch.stages.detect import DetectStage
from ocrbatch.stages.read import ReadStage
from ocrbatch.stages.recognize import RecognizeStage

NOTES: Final = "notes"  # a folder in the output


class Note(NamedTuple):
    """A batch that was finished. at: seconds of the clock."""

    at: float
    pages: int


class _Witness:
    """One worker of `stage`, which does the work."""

    stage: ClassVar[type]

    def __init__(self, config: JobConfig, fingerprint: str, threads: int) -> None:
        folder = Path(config.output.uri, NOTES)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{type(self).stage.__name__}-{os.getpid()}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._work = type(self).stage(config, fingerprint, threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As the stage does it."""
        given = self._work(batch)
        pages = unpacked(given)["outcome"].to_pylist().count(PAGE)
        os.write(self._file, f"{time.monotonic()} {pages}\n".encode())
        return given


class ReadWitness(_Witness):
    """Around `ReadStage`."""

    stage = ReadStage


class DetectWitness(_Witness):
    """Around `DetectStage`."""

    stage = DetectStage


class RecognizeWitness(_Witness):
    """Around `RecognizeStage`."""

    stage = RecognizeStage


WITNESSED: Final = Stages(ReadWitness, DetectWitness, RecognizeWitness)
LAST: Final = (ReadStage.__name__, RecognizeStage.__name__)
"""The stages after which a page's lines are known."""
BEFORE: Final = (DetectStage.__name__,)
"""The stage before it, in the layout split."""


def started(output: Path) -> int:
    """Processes that have begun, whatever became of them."""
    return sum(1 for _ in (output / NOTES).glob("*"))


def notes(output: Path, stages: Sequence[str] = LAST) -> list[list[Note]]:
    """Of each worker of these stages, what it has finished, in order."""
    found = []
    for path in sorted((output / NOTES).glob("*")):
        if path.name.partition("-")[0] in stages:
            lines = path.read_text("ascii").rpartition("\n")[0].splitlines()  # the last may be half written
            found.append([Note(float(at), int(pages)) for at, _, pages in (line.partition(" ") for line in lines)])
    return found


def warm_since(workers: Sequence[Sequence[Note]], count: int, pages: int) -> float | None:
    """When the last of `count` workers had finished so many pages, and at least a batch; None: not yet."""
    reached = [next((n.at for n, total in zip(w, _totals(w), strict=True) if total >= pages), None) for w in workers]
    there = [at for at in reached if at is not None]
    return max(there) if len(there) == count else None


def rate(workers: Sequence[Sequence[Note]], since: float) -> float | None:
    """Pages a second of all workers since then; None until each of them has finished a batch that it began later.

    Each is timed from the end of one batch to the end of another: the few batches of some seconds that a clock for all
    would cut in two would count as whole, or not at all.
    """
    total = 0.0
    for notes in workers:
        begun = max((place for place, note in enumerate(notes) if note.at <= since), default=0)
        if begun >= len(notes) - 1:
            return None
        pages = sum(note.pages for note in notes[begun + 1 :])
        total += pages / (notes[-1].at - notes[begun].at)
    return total or None


def _totals(notes: Sequence[Note]) -> Iterator[int]:
    return accumulate(note.pages for note in notes)
