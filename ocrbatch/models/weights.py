"""What a model is to the rest of the package: files that were checked, and how pixels enter them.

Invariant: whoever holds a `Weights` may load it without asking where it came from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

Format = Literal["onnx", "paddle"]
FORMATS: Final[tuple[Format, ...]] = ("onnx", "paddle")
# Rows of pixels of the line images that every official recognition model takes.
LINE_HEIGHT: Final = 48
# Contours that PaddleX's DBPostProcess looks at where a model's config doesn't say.
MAX_CANDIDATES: Final = 1000

Head = Literal["map", "ctc"]
"""What comes out of a model, and so what an engine reduces it to.

map: text probability of each pixel, float32 (B, H, W), in a tuple of one.
ctc: best class int32 (B, T) and its probability float32 (B, T), for each step.
"""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's files, checked, on local disk.

    format: `onnx` (path is the .onnx file) or `paddle` (path is the folder).
    mean, std, scale: pixel p of channel c enters the network as (p * scale - mean[c]) / std[c], channels in BGR order.
    characters: the classes of a ctc head in order, the blank (index 0) and the final space included; empty for map.
    max_candidates: contours of a map that are looked at, from the bottom up; counts for map only.
    """

    name: str
    head: Head
    format: Format
    path: str
    sha256: str
    mean: Triple
    std: Triple
    scale: float
    characters: tuple[str, ...] = ()
    max_candidates: int = MAX_CANDIDATES

    @property
    def digest(self) -> str:
        """SHA-256 over the files and what their config says, for the fingerprint: either can change a result."""
        said = (self.sha256, self.mean, self.std, self.scale, self.characters, self.max_candidates)
        return hashlib.sha256(repr(said).encode()).hexdigest()
