"""Drawn pages that cost an OCR what scanned forms do: some 65 lines of printed words, 1,000 px high, of many widths."""

from __future__ import annotations

import cv2
import numpy as np

from ocrbatch.records import Pixels

HEIGHT = 1000
WORDS = str.split(
    "Request Change Date From Subject Brand Study Test market Media Type Promotion Retail value Expected redemption "
    "Effective Supervisor Manager Approved Sales area Number Total cost Department Signature Remarks 12.50 4021 1996"
)
FONT, SCALE, INK = cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20)


def form(seed: int) -> Pixels:
    """One page, (1000, 740 to 784, 3) uint8 RGB; another for each seed."""
    drawn = np.random.default_rng(seed)
    width = int(drawn.integers(740, 785))
    image = np.full((HEIGHT, width, 3), 255, np.uint8)
    y = 40
    while y < HEIGHT - 30:
        x = int(drawn.integers(30, 80))
        while True:
            text = " ".join(drawn.choice(WORDS, int(drawn.integers(1, 5))))
            (wide, _), _ = cv2.getTextSize(text, FONT, SCALE, 1)
            if x + wide > width - 20:
                break
            cv2.putText(image, text, (x, y), FONT, SCALE, INK, 1, cv2.LINE_AA)
            x += wide + int(drawn.integers(60, 260))
        y += int(drawn.integers(24, 46))
    return image


def forms(count: int) -> list[Pixels]:
    """So many different pages."""
    return [form(seed) for seed in range(count)]
