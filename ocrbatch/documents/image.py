"""Image files to pixels, by Pillow.

A TIFF's frames and a DCX fax's are pages; every other format gives its first frame, its cover or its largest icon.
A picture is decoded whole or fails: half a page would be read as if it were all of it.
"""

from __future__ import annotations

import contextlib
import errno
import re
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from PIL import Image, UnidentifiedImageError

from ocrbatch.documents.colours import DEEP_MODES, rgb_strips
from ocrbatch.documents.limits import Limits
from ocrbatch.documents.raster import Raster
from ocrbatch.documents.sniff import describe
from ocrbatch.errors import DocumentError

# EPS and WMF run a program or need another system; the others are stubs that never decode.
_REFUSED: Final = frozenset({"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"})

_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CUT_OFF: Final = ("truncated", "not enough image data", "buffer is not large enough", "unexpected end of file")
_PLAIN_WORDS: Final = {
    "decoder error -2": "its compressed data is damaged",
    "broken data stream": "its compressed data is damaged",
    "unrecognized data stream": "its compressed data is damaged",
    "cannot load this image": "it holds no picture",
}
_DISK_ERRORS: Final = frozenset({errno.EIO, errno.ESTALE, errno.ENOENT, errno.EACCES})


class ImagePages:
    """An open image file.

    Raises DocumentError FILE_UNKNOWN, IMAGE_BOMB, IMAGE_BROKEN and IMAGE_TRUNCATED; sizes are checked in the header,
    before anything is decoded.
    """

    def __init__(self, path: Path, head: bytes, limits: Limits, recognised: bool) -> None:
        """recognised: the head has an image's signature, so that a header which can't be read is damage."""
        self._path = path
        self._limits = limits
        self._recognised = recognised
        self._head = head
        self._image: Image.Image | None = None
        self.page_count = 1
        self.page_count = self._count(self._open())

    def page(self, index: int) -> Raster:
        """Decodes one frame."""
        image = self._image if self._image is not None else self._open()
        try:
            with self._translated(image, index):
                if self.page_count > 1:
                    image.seek(index)
                self._check_size(image.size)
                # The tag goes away as the frame is loaded.
                negative = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
                if image.mode in DEEP_MODES:
                    # Mapped before the picture is, while there is room for it.
                    import numpy  # noqa: F401
                image.load()
                self._check_size(image.size)
                upright = image if image.format == "TIFF" else _upright(image)
                strips = rgb_strips(upright, white_is_zero=negative)
                # A mode that can't be converted fails here, not in the middle of the pixels.
                first = next(strips)
        except (DocumentError, MemoryError):
            self.close()
            raise
        if self.page_count == 1:
            self._image = None
        return Raster(upright.width, upright.height, None, _chain(first, strips))

    def close(self) -> None:
        """Releases the file."""
        image, self._image = self._image, None
        if image is not None:
            with contextlib.suppress(Exception):
                image.close()

    def _open(self) -> Image.Image:
        Image.init()
        # One thread: the stacks and heaps of one a core would use up the memory limit on a large machine.
        avif = sys.modules.get("PIL.AvifImagePlugin")
        if avif is not None:
            avif.DEFAULT_MAX_THREADS = 1  # type: ignore[attr-defined]
        # Every format by name, in Pillow's own order: left alone, it would ask the file's extension first.
        formats = tuple(name for name in Image.ID if name not in _REFUSED)
        with self._translated(None, 0):
            self._image = Image.open(self._path, formats=formats)
        self._check_size(self._image.size)
        return self._image

    def _count(self, image: Image.Image) -> int:
        if image.format == "TIFF":
            return max(1, tiff_frames(self._path))
        return int(getattr(image, "n_frames", 1)) if image.format == "DCX" else 1

    def _check_size(self, size: tuple[int, int]) -> None:
        width, height = size
        if width < 1 or height < 1:
            raise DocumentError("IMAGE_BROKEN", f"The image claims a size of {width} x {height} pixels.")
        if width * height > self._limits.max_image_pixels:
            raise DocumentError("IMAGE_BOMB", _bomb(f"{width} x {height} pixels", self._limits))

    @contextlib.contextmanager
    def _translated(self, image: Image.Image | None, index: int) -> Iterator[None]:
        """Pillow with our limit (it guards the pictures inside icons, which no header shows) and our errors."""
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, self._limits.max_image_pixels
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                yield
        except (DocumentError, MemoryError):
            raise
        except UnidentifiedImageError:
            self._raise_unidentified()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DocumentError("IMAGE_BOMB", _bomb(_claimed(error), self._limits)) from error
        except Exception as error:  # noqa: BLE001 (hostile files make Pillow raise nearly every exception there is)
            self._raise_broken(error, image, index)
        finally:
            Image.MAX_IMAGE_PIXELS = before

    def _raise_unidentified(self) -> NoReturn:
        if self._recognised:
            message = "The file begins like an image, but its header is damaged or of a kind that can't be decoded."
            raise DocumentError("IMAGE_BROKEN", message)
        seems = describe(self._head)
        raise DocumentError("FILE_UNKNOWN", f"The file is {seems + ', ' if seems else ''}neither a PDF nor an image.")

    def _raise_broken(self, error: Exception, image: Image.Image | None, index: int) -> NoReturn:
        number = error.errno if isinstance(error, OSError) else None
        reason = _reason(error)
        if number == errno.ENOMEM or "decoder error -9" in reason or "out of memory" in reason:
            raise MemoryError from error
        if number in _DISK_ERRORS:
            raise DocumentError("FETCH_FAILED", "The image's local copy can't be read.") from error
        name = "image" if image is None else f"{image.format} image"
        where = f"Frame {index + 1} of {self.page_count} of the {name}" if self.page_count > 1 else f"The {name}"
        if any(sign in reason.lower() for sign in _CUT_OFF) or isinstance(error, EOFError) or self._ends_early(image):
            message = f"{where} is cut off: its data ends before the picture does."
            raise DocumentError("IMAGE_TRUNCATED", message) from error
        message = f"{where} can't be decoded: {reason or 'its structure is damaged'}."
        raise DocumentError("IMAGE_BROKEN", message) from error

    def _ends_early(self, image: Image.Image | None) -> bool:
        """Whether a TIFF's strips or tiles lie beyond the end of the file; libtiff only says that they are broken."""
        tags: Any = getattr(image, "tag_v2", None)
        if tags is None:
            return False
        try:
            size = self._path.stat().st_size
            for starts, lengths in ((273, 279), (324, 325)):
                ends = [int(at) + int(n) for at, n in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)]
                if ends and max(ends) > size:
                    return True
        except Exception:  # noqa: BLE001 (the tags of a broken file may be anything)
            return False
        return False


def tiff_frames(path: Path) -> int:
    """Number of frames of a TIFF: the length of its chain of directories, until its end, a loop or the end of the file.

    A directory that lies beyond the end counts: its page is asked for and fails, instead of being lost in silence.
    Pillow's own count sets each frame up and fails for all if one can't be.
    """
    with path.open("rb") as file:
        head = file.read(16)
        order, big = "<" if head[:2] == b"II" else ">", head[2:3] == b"\x2b" or head[3:4] == b"\x2b"
        count_format, entry, next_format = (f"{order}Q", 20, f"{order}Q") if big else (f"{order}H", 12, f"{order}L")
        at = struct.unpack(next_format, head[8:16] if big else head[4:8])[0]
        seen: set[int] = set()
        while at and at not in seen:
            seen.add(at)
            try:
                file.seek(at)
                (entries,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
                file.seek(entries * entry, 1)
                (at,) = struct.unpack(next_format, file.read(struct.calcsize(next_format)))
            except (struct.error, OSError, OverflowError, ValueError):
                break
    return len(seen)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF (or XMP) orientation says, which may stand in any of Pillow's places for it."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 (EXIF that can't be parsed says nothing about the orientation)
        return image
    return image if turn is None else image.transpose(turn)


def _claimed(error: Exception) -> str:
    found = re.search(r"\((\d+ pixels)\)", str(error))
    return found[1] if found else "too many pixels"


def _bomb(size: str, limits: Limits) -> str:
    return f"The image claims {size}, and documents.max_image_pixels allows {limits.max_image_pixels}."


def _reason(error: Exception) -> str:
    """The first line of an error in words; "" where it was made for programmers."""
    if not isinstance(error, (OSError, ValueError, SyntaxError)) or not error.args:
        return ""
    text = str(error.args[-1] if isinstance(error, OSError) else error.args[0]).splitlines()
    reason = text[0].strip().rstrip(".")[:200] if text else ""
    return next((plain for start, plain in _PLAIN_WORDS.items() if reason.startswith(start)), reason)
