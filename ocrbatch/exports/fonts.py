"""Which font draws a text: the one given, the one inside Pillow, or one that the system has.

Invariant: a font is always found, so drawing never fails for want of one; a character that no font here has is shown as
a box (□, or the font's own sign for a missing glyph).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import ImageFont

from ocrbatch.errors import UsageError

MISSING: Final = "\u25a1"
_NONCHARACTER: Final = "\U0010ffff"  # no font has a glyph for it: it shows how a missing one is drawn
_PROBE_SIZE: Final = 24
_FOLDERS: Final = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
)
# Beginnings of file names, best first: fonts that hold Chinese, Japanese and Korean, then some with Greek and Cyrillic.
_WIDE_FONTS: Final = (
    "NotoSansCJK",
    "NotoSansSC",
    "NotoSansJP",
    "SourceHanSans",
    "wqy-microhei",
    "wqy-zenhei",
    "DroidSansFallback",
    "PingFang",
    "Hiragino",
    "Arial Unicode",
    "DejaVuSans.",
    "NotoSans-Regular",
    "LiberationSans-Regular",
)


@lru_cache(maxsize=256)
def load(font: str | None, size: int) -> ImageFont.FreeTypeFont:
    """A font at `size` pixels. font: a file, or None for the one inside Pillow (Aileron: ASCII and a few signs).

    Raises UsageError when the file is no font that FreeType reads.
    """
    if font is None:
        built_in = ImageFont.load_default(size)
        if not isinstance(built_in, ImageFont.FreeTypeFont):
            raise UsageError("this build of Pillow has no FreeType", "Install Pillow from its wheels.")
        return built_in
    try:
        return ImageFont.truetype(BytesIO(Path(font).read_bytes()), size)
    except OSError as error:
        raise UsageError(f"can't read the font {font}: {error}", "Give a .ttf, .otf or .ttc file.") from error


def lacks(texts: Iterable[str], given: str | None = None) -> bool:
    """Whether some of the texts' characters are drawn as boxes."""
    return any(choose(text, given)[1].count(MISSING) > text.count(MISSING) for text in texts)


def choose(text: str, given: str | None = None) -> tuple[str | None, str]:
    """The font that has the most of a text's characters, and the text with □ for those it lacks.

    given: a font file to use whatever it lacks. Else the font inside Pillow comes first, and the system's fonts are
    looked at only for a text that it can't draw.
    """
    if given is not None:
        return given, _drawable(given, text)
    best, fewest = None, len(text) + 1
    for font in _candidates():
        lacking = sum(not _has(font, character) for character in text)
        if lacking < fewest:
            best, fewest = font, lacking
        if fewest == 0:
            break
    return best, _drawable(best, text)


def _candidates() -> Iterator[str | None]:
    yield None
    yield from system_fonts()


@lru_cache(maxsize=1)
def system_fonts() -> tuple[str, ...]:
    """The files of fonts with many scripts that this machine has, best first."""
    found: dict[str, str] = {}
    for folder in _FOLDERS:
        for path in sorted(Path(folder).expanduser().rglob("*.[to]t[fc]")):
            name = next((name for name in _WIDE_FONTS if path.name.startswith(name)), None)
            if name is not None and (name not in found or "Regular" in path.name):
                found.setdefault(name, str(path))
    return tuple(found[name] for name in _WIDE_FONTS if name in found)


@lru_cache(maxsize=65536)
def _has(font: str | None, character: str) -> bool:
    return character.isspace() or _glyph(font, character) != _glyph(font, _NONCHARACTER)


def _glyph(font: str | None, character: str) -> tuple[object, ...]:
    mask = load(font, _PROBE_SIZE).getmask(character)
    return mask.size, bytes(mask)


def _drawable(font: str | None, text: str) -> str:
    return "".join(character if _has(font, character) else MISSING for character in text)
