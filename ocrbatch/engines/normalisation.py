"""Pixels to the network's floats on the CPU, for runtimes that don't do it in their graph.

Invariant: every float has the bits that PaddleX computes: a byte has only 256 values, so its own arithmetic is done once
for each of them and looked up after that.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrbatch.models.weights import Weights
from ocrbatch.records import Pixels

Floats = NDArray[np.float32]


def tables(weights: Weights) -> tuple[Floats, Floats, Floats]:
    """For each channel, the float32 that each of the 256 bytes becomes.

    A map model's NormalizeImage folds scale, mean and std into one product and one sum; a ctc model's OCRReisizeNormImg
    divides, subtracts and divides (PaddleX 3.7, text_detection/processors.py and text_recognition/processors.py).
    """
    found = []
    for mean, std in zip(weights.mean, weights.std, strict=True):
        table = np.arange(256, dtype=np.float32)
        if weights.head == "map":
            table *= np.float32(weights.scale / std)
            table += np.float32(-mean / std)
        else:
            table /= np.float32(1 / weights.scale)
            table -= np.float32(mean)
            table /= np.float32(std)
        found.append(table)
    return found[0], found[1], found[2]


def normalise(pixels: Pixels, by: tuple[Floats, Floats, Floats], rows: int | None = None) -> Floats:
    """(B, H, W, 3) uint8 to (rows, 3, H, W) float32; rows beyond B are zero. `by` comes from `tables`."""
    count, height, width, _ = pixels.shape
    rows = count if rows is None else rows
    planes = (
        np.zeros((rows, 3, height, width), np.float32)
        if rows > count
        else np.empty((rows, 3, height, width), np.float32)
    )
    for image, target in zip(pixels, planes, strict=False):
        for channel, table in enumerate(by):
            cv2.LUT(np.ascontiguousarray(image[:, :, channel]), table, dst=target[channel])
    return planes
