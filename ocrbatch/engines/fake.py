"""An engine without a model: its results are simple functions of the pixels, and it fails when it is told to.

For tests of scheduling, batching and failure; a page's content shows in its result, so a mix-up of pages does too. Its
device may be a GPU that nobody has, which Ray was only told of.
Invariant: a row's result follows from its own pixels alone.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ocrbatch.engines.base import Engine, EngineOptions, Outputs, Weights, checked_batch, checked_outputs
from ocrbatch.errors import UsageError
from ocrbatch.records import Pixels

FAULTS: Final = ("raise", "crash", "hang", "eat", "nan", "stillborn")
OPTIONS: Final = {"seconds", "marker", "fault"}
STEP: Final = 8  # a ctc model's columns a step
HANG_SECONDS: Final = 86_400.0
EATEN_BYTES: Final = 16 << 20  # at a time
EATING_SECONDS: Final = 0.01  # between two times, so that whoever looks on can act


class FakeEngine(Engine):
    """See `Engine`. Weights count only by their head and their number of classes; their files are never opened.

    map: probability 0.9 in each block of 8 x 8 px that is darker than mid-grey, else 0: draw black bars and they are
    found.
    ctc: a blank at every other step, and classes drawn by a checksum of the row.

    options.extra: `seconds`, sleep for each row; `fault` (one of FAULTS), done when a row's first pixel, as B, G, R,
    equals `marker`: raise RuntimeError, kill the process by SIGSEGV, sleep for a day, take memory without end, or give
    NaN (which becomes a RuntimeError, as in every engine). `stillborn` kills the process as soon as there is an engine.
    """

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        extra = options.extra
        if unknown := set(extra) - OPTIONS:
            raise UsageError(
                f"the engine fake has no option {min(unknown)!r}", f"It takes {', '.join(sorted(OPTIONS))}."
            )
        if extra.get("fault", FAULTS[0]) not in FAULTS:
            raise UsageError(f"fault {extra['fault']!r} is unknown", f"Choose one of {', '.join(FAULTS)}.")
        self._head = weights.head
        self._classes = max(2, len(weights.characters))
        self._seconds = float(extra.get("seconds", 0.0))
        self._fault: str | None = extra.get("fault")
        if self._fault == "stillborn":
            os.kill(os.getpid(), signal.SIGKILL)
        self._marker = np.array(extra.get("marker", (1, 2, 3)), np.uint8)

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        pixels = checked_batch(pixels)
        faulty = [self._is_marked(row) for row in pixels]
        for is_faulty in faulty:
            time.sleep(self._seconds)
            if is_faulty:
                self._fail()
        if self._head == "map":
            outputs: Outputs = (np.stack([dark_blocks(row) for row in pixels]),)
        else:
            read = [self._read(row) for row in pixels]
            outputs = np.stack([classes for classes, _ in read]), np.stack([probabilities for _, probabilities in read])
        if self._fault == "nan" and any(faulty):
            outputs[-1][faulty.index(True)] = np.nan
        return checked_outputs(outputs)

    def _is_marked(self, row: Pixels) -> bool:
        return self._fault is not None and bool((row[0, 0] == self._marker).all())

    def _fail(self) -> None:
        match self._fault:
            case "raise":
                raise RuntimeError("the fake engine was told to fail on this row")
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(HANG_SECONDS)
            case "eat":
                held = []
                while True:
                    held.append(b"x" * EATEN_BYTES)
                    time.sleep(EATING_SECONDS)

    def _read(self, row: Pixels) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        steps = max(2, row.shape[1] // STEP)
        drawn = np.random.default_rng(zlib.crc32(row.tobytes()))
        classes = drawn.integers(1, self._classes, steps, dtype=np.int32)
        classes[1::2] = 0
        return classes, drawn.uniform(0.5, 1.0, steps).astype(np.float32)


def dark_blocks(page: Pixels) -> NDArray[np.float32]:
    """(H, W, 3) uint8 to (H, W) float32: 0.9 in the blocks of 8 x 8 px that are darker than mid-grey, else 0."""
    height, width, _ = page.shape
    blocks = page[: height // 8 * 8, : width // 8 * 8].reshape(height // 8, 8, width // 8, 8, 3).mean(axis=(1, 3, 4))
    found = np.zeros((height, width), np.float32)
    found[: height // 8 * 8, : width // 8 * 8] = np.where(blocks < 128, 0.9, 0.0).repeat(8, axis=0).repeat(8, axis=1)
    return found


def weights(head: Any) -> Weights:
    """Weights that no file backs, for this engine: of a ctc head with the letters a to z."""
    letters = tuple("abcdefghijklmnopqrstuvwxyz")
    characters = ("blank", *letters, " ") if head == "ctc" else ()
    half = (0.5, 0.5, 0.5)
    return Weights(f"fake_{head}", head, "onnx", "", "0" * 64, half, half, 1 / 255, characters)
