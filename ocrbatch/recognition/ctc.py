"""Greedy decoding of Connectionist Temporal Classification (Graves et al. 2006), from the best class of each step.

Invariant: texts and scores are those of PaddleX 3.7's CTCLabelDecode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLANK: Final = 0


def decode(
    classes: NDArray[np.int32], probabilities: NDArray[np.float32], characters: Sequence[str]
) -> list[tuple[str, float]]:
    """Text and score of each line of a batch.

    classes, probabilities: (B, T), the best class of each step and its probability. characters: the classes in order,
    blank first.
    A run of one class is one character; blanks vanish. The score is the mean probability over each run's first step,
    0.0 for a line without a character.
    """
    first = np.ones(classes.shape, bool)
    first[:, 1:] = classes[:, 1:] != classes[:, :-1]
    first &= classes != BLANK
    lines = []
    for line, probability, kept in zip(classes, probabilities, first, strict=True):
        text = "".join([characters[c] for c in line[kept].tolist()])
        lines.append((text, float(probability[kept].mean()) if kept.any() else 0.0))
    return lines
