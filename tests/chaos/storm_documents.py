"""Small documents for storms: every page another, some of them images, some pages of longer files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from checker import Key
from numpy.typing import NDArray
from PIL import Image

LONG = 50  # pages of a TIFF


def write(folder: Path, count: int, engine: str) -> set[Key]:
    """Fills a folder with documents of so many pages in all, half of them in files of LONG pages; gives their keys.

    engine: the fake one finds black bars, every other one finds words.
    """
    folder.mkdir(parents=True)
    pages = (_bar(number) if engine == "fake" else _words(number) for number in range(count))
    keys: set[Key] = set()
    for name, length in _files(count):
        images = [Image.fromarray(next(pages)) for _ in range(length)]
        images[0].save(folder / name, save_all=True, append_images=images[1:]) if length > 1 else images[0].save(
            folder / name
        )
        keys |= {(name, index) for index in range(length)}
    return keys


def _files(count: int) -> Iterator[tuple[str, int]]:
    files = count // (2 * LONG)
    for number in range(count - files * LONG):
        yield f"{number:04d}.png", 1
        if number % LONG == 0 and number // LONG < files:
            yield f"{number:04d}.tiff", LONG


def _bar(number: int) -> NDArray[np.uint8]:
    """A line for the engine fake, which reads its pixels' checksum. Sides of whole 32 px: detection scales nothing."""
    page = np.full((64, 256, 3), 255, np.uint8)
    page[24:40, 16:240] = np.random.default_rng(number).integers(0, 100, (16, 224, 1))
    return page


def _words(number: int) -> NDArray[np.uint8]:
    page = np.full((96, 384, 3), 255, np.uint8)
    for row, text in enumerate((f"Delivery {number}", f"Sum {number * 37}.{number % 100:02d} EUR")):
        cv2.putText(page, text, (16, 36 + 40 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2, cv2.LINE_AA)
    return page
