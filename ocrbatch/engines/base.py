"""The Protocol that every runtime keeps, and what all engines check alike.

Invariant: the same pixels give the same bits whatever the batch size, the neighbours and the number of threads, and
never a NaN. An engine normalises and reduces inside the graph where its runtime can: pixels go in as uint8, and of a
recognition head (18,710 classes a step) only the best class and its probability come out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ocrbatch.config import BATCH_PIXELS, MEMORY_MB
from ocrbatch.models.weights import Head, Weights
from ocrbatch.records import Pixels

__all__ = [
    "Engine",
    "EngineOptions",
    "Head",
    "Outputs",
    "Weights",
    "checked_batch",
    "checked_outputs",
    "rows_of",
]

Outputs = tuple[NDArray[np.generic], ...]
"""(map,) float32 (B, H, W), or (classes, probabilities) int32 and float32 (B, T); see `Head`."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to run, not what.

    threads: CPU threads, at least 1. precision is resolved, never auto. memory_mb: of the shapes that a model
    was compiled for. batch_pixels: total width of the lines in one
    call of a ctc model; on GPUs also total area of the pages in one call of a map model (see `rows_of`).
    """

    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    memory_mb: int = MEMORY_MB
    isa_cap: str | None = None
    batch_pixels: int = BATCH_PIXELS
    extra: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """One model, loaded in one runtime. Not thread-safe; one a worker."""

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        """Loads the model. Raises ModelError when the runtime refuses the file."""

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch: (B, H, W, 3) uint8, BGR; gives what `Head` says. Any B of at least 1.

        A ctc model is called with few distinct W (its buckets), a map model with any H and W that are multiples of 32.
        Raises ValueError on any other array, RuntimeError when the runtime fails or gives a NaN.
        """
        ...

    def run_many(self, batches: Iterable[Pixels]) -> Generator[Outputs]:
        """Executes batches and gives the outputs of each, in order, bit for bit as `run` does.

        An engine may take some ahead and work on several at once, best where those beside each other differ in width.
        Until the last is taken, or the generator closed, nothing else may be run.
        """
        yield from map(self.run, batches)

    def rows_computed(self, shape: tuple[int, ...]) -> int:
        """Rows that the model computes for a batch of this shape, those included that its calls are filled up with."""
        return shape[0]


def rows_of(size: int, batch_pixels: int) -> int:
    """Rows of this size that go through a model together at most; on GPUs always so many.

    size: of lines their width in pixels, of pages their area.
    """
    return max(1, batch_pixels // size)


def checked_batch(pixels: Pixels) -> Pixels:
    """The batch, C-contiguous. Raises ValueError when it isn't (B, H, W, 3) uint8 with at least one pixel."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape:
        raise ValueError(f"an engine takes (B, H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
    return np.ascontiguousarray(pixels)


def checked_outputs(outputs: Outputs) -> Outputs:
    """The outputs as they are. Raises RuntimeError on a NaN: it would read as a blank page, or as text of score 0."""
    if np.isnan(outputs[-1].max()):  # max() passes a NaN on
        raise RuntimeError("the model gave NaN; if its precision is reduced, engine.precision=fp32 may help")
    return outputs
