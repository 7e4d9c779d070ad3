"""Where a run's time went, stage by stage: the spans of its batches, summed up as they come. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from ocrbatch.recognition.recognizer import Fill
from ocrbatch.stages.spans import Span

ORDER: Final = ("decode", "detect", "recognize", "read", "write")
MODELS: Final = ("detect", "recognize", "read")


@dataclass(slots=True)
class StageTime:
    """Seconds of all workers of a stage, each from its first batch to its last; for busy, starved, held_up see `Span`.

    A lost batch's are missing, and those of a worker that died end with its last batch that came home.
    """

    workers: set[str] = field(default_factory=set)
    batches: int = 0
    pages: int = 0
    busy: float = 0.0
    starved: float = 0.0
    held_up: float = 0.0

    def to_json(self) -> dict[str, float]:
        """Plain values; seconds to the millisecond."""
        seconds = {name: round(getattr(self, name), 3) for name in ("busy", "starved", "held_up")}
        return {"workers": len(self.workers), "batches": self.batches, "pages": self.pages, **seconds}


@dataclass(slots=True)
class Where:
    """The sums of a run.

    fill: of the recognition model's batches. began: when a worker with a model took up its first batch, in seconds
    since the epoch; inf where none has.
    """

    stages: dict[str, StageTime] = field(default_factory=dict)
    fill: Fill = field(default_factory=Fill)
    began: float = inf

    def add(self, spans: Iterable[Span]) -> None:
        """Counts spans, in any order."""
        for span in spans:
            stage = self.stages.setdefault(span.stage, StageTime())
            stage.workers.add(span.worker)
            stage.batches += 1
            stage.pages += span.pages
            stage.busy += span.busy
            stage.starved += span.starved
            stage.held_up += span.held_up
            self.fill += Fill(span.useful, span.total)
            if span.stage in MODELS:
                self.began = min(self.began, span.start)

    def to_json(self) -> dict[str, dict[str, float]]:
        """The stages in the order in which a page meets them."""
        return {name: self.stages[name].to_json() for name in ORDER if name in self.stages}
