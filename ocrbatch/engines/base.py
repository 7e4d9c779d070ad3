"""The Protocol that every runtime keeps, and the registry of runtimes.

Invariant: the same pixels give the same bits whatever the batch size and the neighbours. An engine normalises and reduces
inside the graph where its runtime can: pixels go in as uint8, and of a recognition head (18,710 classes a step) only the best
class and its probability come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ocrbatch.records import Pixels

Head = Literal["map", "ctc"]
"""What comes out of a model, and so what an engine reduces it to.

map: text probability of each pixel, float32 (B, H, W), in a tuple of one.
ctc: best class int32 (B, T) and its probability float32 (B, T), for each step.
"""


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's files, checked, on local disk.

    format: `onnx` (path is the .onnx file) or `paddle` (path is the folder).
    mean, std, scale: pixel p of channel c enters the network as (p * scale - mean[c]) / std[c]; channels are in BGR order.
    characters: the classes of a ctc head in order, the blank (index 0) and the final space included; empty for map.
    """

    name: str
    head: Head
    format: Literal["onnx", "paddle"]
    path: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    characters: tuple[str, ...] = ()


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
