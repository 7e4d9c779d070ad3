"""Pages a second of a probe, from the spans of its batches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from ocrbatch.stages.spans import Span

Worker = Sequence[Span]
"""What one worker that gives lines has finished, in order."""


def warm_since(workers: Sequence[Worker], count: int, pages: int) -> float | None:
    """When the last of `count` workers had finished so many pages, and at least a batch; None: not yet."""
    reached = [next((s.end for s, total in zip(w, _totals(w), strict=True) if total >= pages), None) for w in workers]
    there = [at for at in reached if at is not None]
    return max(there) if len(there) == count else None


def rate(workers: Sequence[Worker], since: float) -> float | None:
    """Pages a second of all workers since then; None until each of them has finished a batch that it began later.

    Each is timed from the end of one batch to the end of another: the few batches of some seconds that a clock for all
    would cut in two would count as whole, or not at all.
    """
    total = 0.0
    for spans in workers:
        begun = max((place for place, span in enumerate(spans) if span.end <= since), default=0)
        if begun >= len(spans) - 1:
            return None
        pages = sum(span.pages for span in spans[begun + 1 :])
        total += pages / (spans[-1].end - spans[begun].end)
    return total or None


def _totals(spans: Worker) -> Iterator[int]:
    return accumulate(span.pages for span in spans)
