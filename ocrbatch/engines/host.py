"""Normalisation, batches and reduction on the host, for runtimes that don't do them in their graph.

Invariant: every float has the bits that PaddleX computes. A byte has only 256 values, so its own arithmetic is done
once for each of them and looked up after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrbatch.engines.base import Outputs
from ocrbatch.models.weights import Head, Weights
from ocrbatch.records import Pixels

Floats = NDArray[np.float32]
STEPS: Final[dict[str, np.ufunc]] = {"Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Div": np.divide}
Calls = list[tuple[Pixels, int]]
"""A batch cut into the model's calls: pixels, and the rows that the call has, those beyond the pixels' own zeros."""


def one_by_one(pixels: Pixels) -> Calls:
    """A call for each row."""
    return [(row[None], 1) for row in pixels]


def filled(pixels: Pixels, rows: int) -> Calls:
    """Calls that all have so many rows: GPUs pick their kernels, and so the bits, by that number."""
    return [(pixels[k : k + rows], rows) for k in range(0, len(pixels), rows)]


def reduced(head: Head, found: Iterable[Floats]) -> Outputs:
    """What the calls gave, (B, 1, H, W) or (B, T, C) each, as one batch of what `Head` says."""
    if head == "map":
        return (np.concatenate([maps[:, 0] for maps in found]),)
    classes, probabilities = zip(*map(best_classes, found), strict=True)  # one call's logits at a time: megabytes
    return np.concatenate(classes), np.concatenate(probabilities)


def arithmetic(weights: Weights) -> list[tuple[str, Floats]]:
    """The steps from a byte to what enters the network: names of ONNX operations, and float32 (3,), one each channel.

    A map model's NormalizeImage folds scale, mean and std into one product and one sum; a ctc model's OCRReisizeNormImg
    divides, subtracts and divides (PaddleX 3.7, text_detection/processors.py and text_recognition/processors.py).
    """
    mean, std = np.array(weights.mean), np.array(weights.std)
    if weights.head == "map":
        steps = [("Mul", weights.scale / std), ("Add", -mean / std)]
    else:
        steps = [("Div", np.full(3, 1 / weights.scale)), ("Sub", mean), ("Div", std)]
    return [(name, operand.astype(np.float32)) for name, operand in steps]


def tables(weights: Weights) -> tuple[Floats, ...]:
    """For each channel, the float32 (256,) that each byte becomes."""
    found = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    for name, operand in arithmetic(weights):
        found = STEPS[name](found, operand[:, None])
    return tuple(found)


def normalise(pixels: Pixels, channel_tables: tuple[Floats, ...], rows: int) -> Floats:
    """(B, H, W, 3) uint8 to (rows, 3, H, W) float32, in 5.4 ms for a page of 1,024 x 768 px; rows beyond B are zero."""
    count, height, width, channels = pixels.shape
    planes = np.empty((rows, channels, height, width), np.float32)
    planes[count:] = 0
    for image, target in zip(pixels, planes, strict=False):
        for channel, table in enumerate(channel_tables):
            cv2.LUT(np.ascontiguousarray(image[:, :, channel]), table, dst=target[channel])
    return planes


def best_classes(probabilities: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Best class of each step, int32 (B, T), and its probability, float32 (B, T), of (B, T, C)."""
    classes = probabilities.argmax(axis=2)
    values: Floats = np.take_along_axis(probabilities, classes[:, :, None], axis=2)[:, :, 0]
    return classes.astype(np.int32), values
