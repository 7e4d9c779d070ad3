"""The Protocol that every runtime keeps, and the registry of runtimes.

Invariant: the same pixels give the same bits whatever the batch size and the neighbours. An engine normalises and reduces
inside the graph where its runtime can: pixels go in as uint8, and of a recognition head (18,710 classes a step) only the best
class and its probability come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ocrbatch.models.weights import Head, Weights
from ocrbatch.records import Pixels

__all__ = ["Engine", "EngineOptions", "Head", "Weights"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to run, not what. threads: CPU threads, at least 1. precision is resolved, never auto."""

    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    isa_cap: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """One model, loaded in one runtime. Not thread-safe; one a worker."""

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        """Loads the model. Raises ModelError when the runtime refuses the file."""

    def run(self, pixels: Pixels) -> tuple[NDArray[np.generic], ...]:
        """Executes one batch: (B, H, W, 3) uint8, BGR; gives what `Head` says. Any B of at least 1.

        A ctc model is called with few distinct W (its buckets), a map model with any H and W that are multiples of 32.
        Raises RuntimeError when the runtime fails.
        """
