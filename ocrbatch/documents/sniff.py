"""What a file is, by its content: names and extensions are never asked.

Pure functions over the first bytes. An "unknown" is still offered to Pillow, because some images (TGA) have no
signature.
"""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["pdf", "image", "unknown", "empty"]

HEAD_BYTES: Final = 4096
"""How much of a file `sniff` and `describe` want to see."""

# ISO 32000-1, annex H.3.4.1: readers accept the header anywhere in the first 1024 bytes; pdfium does.
_PDF_WINDOW: Final = 1024

# Only signatures that no text or other format begins with by chance. (offset, bytes)
_IMAGES: Final[tuple[tuple[int, bytes], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"II+\0"),
    (0, b"MM\0+"),
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (8, b"WEBPVP8"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n"),
    (0, b"\xff\x4f\xff\x51\0"),
    (4, b"ftypavif"),
    (4, b"ftypavis"),
    (0, b"8BPS\0\x01"),
    (0, b"qoif"),
    (0, b"DDS \x7c\0\0\0"),
    (0, b"\x3a\xde\x68\xb1"),
    (0, b"icns"),
    (0, b"\x59\xa6\x6a\x95"),
    (0, b"/* XPM */"),
    (0, b"SIMPLE  ="),
)

_OTHERS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"%!PS", "a PostScript program"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (0, b"AT&TFORM", "a DjVu document"),
    (4, b"ftyphei", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIF photo"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\0\0\x01\xba", "a video"),
    (0, b"\0\0\x01\xb3", "a video"),
    (0, b"RIFF", "a sound or video file"),
    (0, b"\x7fELF", "a program"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"<?xml", "an XML file"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<!DOCTYPE html", "an HTML page"),
    (0, b"<html", "an HTML page"),
)


def sniff(head: bytes) -> Kind:
    """Kind of the file that begins with `head` (give it HEAD_BYTES).

    "image" means that a signature was recognised; "unknown" that none was. A PDF header may stand anywhere in the first
    1024 bytes, behind mail headers or printer commands, but not inside an image.
    """
    if not head:
        return "empty"
    if any(head[at : at + len(magic)] == magic for at, magic in _IMAGES):
        return "image"
    return "pdf" if b"%PDF-" in head[: _PDF_WINDOW + len(b"%PDF-")] else "unknown"


def describe(head: bytes) -> str:
    """What an unknown file seems to be, for a message: "a ZIP archive or an Office document"; "" where nothing fits."""
    for at, magic, name in _OTHERS:
        if head[at : at + len(magic)].lower() == magic.lower():
            return name
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    if all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in head[:512]):
        try:
            head[:512].decode("utf8")
        except UnicodeDecodeError as error:
            return "plain text" if error.start > 500 else ""
        return "plain text"
    return ""
