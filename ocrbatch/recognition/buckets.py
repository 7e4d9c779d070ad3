"""Which crops go through the model together, and how wide the batch is.

Invariant: a crop's bucket follows from its own width alone, so its neighbours never change its pixels; every crop is in
exactly one batch; the widths that an engine meets are those of WIDTHS.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ocrbatch.engines.base import rows_of

# Pixels. An engine may compile a model for each (OpenVINO: 0.15 s and 17 MB), so there are few: steps of 32 and 64 px,
# and from 768 px of an eighth. On receipts 7.3% of the pixels are padding and on manuals at 144 dpi, with lines of up
# to 3,200 px, 5.5%; steps of 32 throughout would give 5.2% and 1.3%, PaddleX's least width of 320 gives receipts 32%.
# All are multiples of 32: the model's steps are 8 px wide.
WIDTHS: Final = (
    *(64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512),
    *(576, 640, 704, 768, 864, 960, 1088, 1216, 1376, 1536, 1728, 1920, 2144, 2400, 2688, 2944, 3200),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops of one bucket. width: of the bucket, in pixels; members: places in the list of crops, ascending."""

    width: int
    members: tuple[int, ...]


def bucket(width: int) -> int:
    """The narrowest bucket that holds a crop of this width, 1 to 3200 px. Raises ValueError for a wider one."""
    place = bisect.bisect_left(WIDTHS, width)
    if place == len(WIDTHS):
        raise ValueError(f"a crop of {width} px is wider than the widest bucket, {WIDTHS[-1]} px")
    return WIDTHS[place]


def batches(widths: Sequence[int], batch_pixels: int) -> list[Batch]:
    """Groups crops of these widths by bucket; see `rows_of` for the size of a full batch.

    Batches of one bucket are spread evenly over the list, wide buckets first, for engines that work on several at once.
    """
    by_bucket: dict[int, list[int]] = {}
    for place, width in enumerate(widths):
        by_bucket.setdefault(bucket(width), []).append(place)
    planned = []
    for width, members in by_bucket.items():
        rows = rows_of(width, batch_pixels)
        cut = [Batch(width, tuple(members[k : k + rows])) for k in range(0, len(members), rows)]
        planned += [((place + 0.5) / len(cut), -width, batch) for place, batch in enumerate(cut)]
    return [batch for *_, batch in sorted(planned, key=lambda entry: entry[:2])]
