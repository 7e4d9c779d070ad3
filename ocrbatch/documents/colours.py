"""Any Pillow image to RGB strips, 8 bits a channel.

Strip by strip, so that the decoder never holds a second copy of a large picture. The rules for samples of more than
8 bits depend on the whole picture and on nothing else:

- integers: white is the smallest of 255, 1023, 4095, 16383, 65535 that no sample exceeds, so that 10- and 12-bit scans
  in 16-bit files are not read as black pages; negative or larger samples are stretched from their minimum to maximum;
- floats are stretched from the smallest to the largest finite sample; what is not a number becomes black.

Transparent pixels show white paper. CMYK without its profile is converted as Pillow does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRIP_BYTES: Final = 4 << 20
WHITE_LEVELS: Final = (255, 1023, 4095, 16383, 65535)
DEEP_MODES: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def rgb_strips(image: Image.Image, white_is_zero: bool = False) -> Iterator[bytes]:
    """Runs of whole rows of a loaded image, RGB; width * height * 3 bytes in all.

    white_is_zero: the samples of more than 8 bits are a negative (TIFF's PhotometricInterpretation 0), which Pillow
    resolves only up to 8 bits.
    """
    convert = _deep_converter(image, white_is_zero) if image.mode in DEEP_MODES else _plain
    for strip in _strips(image):
        yield convert(strip)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    rows = max(1, STRIP_BYTES // (4 * width))
    if rows >= height:
        yield image
        return
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height)))


def _plain(strip: Image.Image) -> bytes:
    if strip.has_transparency_data:
        layer = strip.convert("RGBA")
        paper = Image.new("RGB", layer.size, "white")
        paper.paste(layer, mask=layer.getchannel("A"))
        return paper.tobytes()
    return (strip if strip.mode == "RGB" else strip.convert("RGB")).tobytes()


def _deep_converter(image: Image.Image, white_is_zero: bool) -> Callable[[Image.Image], bytes]:
    import numpy as np

    low, high = _extremes(image)
    transparent = image.info.get("transparency")

    def convert(strip: Image.Image) -> bytes:
        samples = np.asarray(strip)
        grey = scale_to_bytes(samples, low, high)
        if white_is_zero:
            grey = 255 - grey
        if isinstance(transparent, int):
            grey = np.where(samples == transparent, np.uint8(255), grey)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2).tobytes()

    return convert


def _extremes(image: Image.Image) -> tuple[float, float]:
    import numpy as np

    low, high = np.inf, -np.inf
    for strip in _strips(image):
        samples = np.asarray(strip)
        samples = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples
        if samples.size:
            low, high = min(low, float(samples.min())), max(high, float(samples.max()))
    return low, high


def scale_to_bytes(samples: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Grey values 0-255 for integer or float samples, by the rules above.

    low, high: smallest and largest finite sample of the whole picture (infinite where it has none). A float picture of
    one value is a blank page, white.
    """
    import numpy as np

    if samples.dtype.kind != "f" and low >= 0 and high <= WHITE_LEVELS[-1]:
        white = next(level for level in WHITE_LEVELS if high <= level)
        return ((samples.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    values = samples.astype(np.float64)
    known = np.isfinite(values)
    if high > low:
        grey = np.rint((np.where(known, values, low) - low) * (255.0 / (high - low)))
    else:
        grey = np.full(values.shape, 255.0)
    return np.where(known, grey, 0.0).astype(np.uint8)
