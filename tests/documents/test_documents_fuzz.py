"""Damaged files of every format before the decoder: whatever they do to it is an error of that file, in time.

They are made from small files of each kind and from those in the folder $FUZZ_DOCUMENTS (unset: the sample documents).
"""

from __future__ import annotations

import io
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from dataset import DOCUMENTS
from PIL import Image, ImageDraw, features

from ocrbatch.config import DocumentsConfig
from ocrbatch.documents.sandbox import Sandbox
from ocrbatch.errors import DocumentError

SEED = 20261121
PAGES = 3  # of a document, at most
LARGEST = 2 << 20  # of the real documents, in bytes
TIMEOUT = 5.0
GRACE = 3.0  # for a child to be ended and another to start, on a busy machine
LIMITS = DocumentsConfig(timeout=TIMEOUT, memory_mb=512, max_image_pixels=4_000_000, max_pixels=4_000_000)
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\x01\0\0\0")


def picture(mode: str) -> Image.Image:
    """Small, and not of one colour, so that it has something to compress."""
    image = Image.new("L", (96, 64), 255)
    drawing = ImageDraw.Draw(image)
    for row in range(4):
        drawing.text((4, 14 * row), f"line {row} {37 * row}", fill=40 * row)
    return image.convert(mode)


def images() -> Iterator[bytes]:
    """One of each kind that is likely to be met."""
    kinds: list[tuple[str, str, dict[str, object]]] = [
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("PNG", "LA", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "L", {"progressive": True}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("PPM", "L", {}),
        ("TGA", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "L", {"compression": "tiff_deflate"}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "RGB", {}),
        ("ICO", "RGB", {}),
        ("PCX", "L", {}),
    ]
    if features.check("jpg_2000"):
        kinds.append(("JPEG2000", "RGB", {}))
    for kind, mode, options in kinds:
        out = io.BytesIO()
        more = {"save_all": True, "append_images": [picture(mode)]} if kind in ("TIFF", "GIF", "WEBP") else {}
        picture(mode).save(out, kind, **options, **more)
        yield out.getvalue()


def pdfs() -> Iterator[bytes]:
    """With text, with a picture, with objects in streams, encrypted, and as it is edited by hand."""
    out = io.BytesIO()
    picture("RGB").save(out, "PDF", save_all=True, append_images=[picture("L")])
    yield out.getvalue()
    with pikepdf.open(DOCUMENTS / "agreement.pdf") as pdf:
        for options in (
            {},
            {"object_stream_mode": pikepdf.ObjectStreamMode.generate, "compress_streams": True},
            {"stream_decode_level": pikepdf.StreamDecodeLevel.generalized, "compress_streams": False, "qdf": True},
            {"linearize": True},
            {"encryption": pikepdf.Encryption(owner="o", user="")},
        ):
            out = io.BytesIO()
            pdf.save(out, **options)
            yield out.getvalue()
    empty = io.BytesIO()
    with closing(pypdfium2.PdfDocument.new()) as document:
        document.new_page(100, 100)
        document.save(empty)
    yield empty.getvalue()


def samples() -> list[bytes]:
    """Real documents, the smaller ones."""
    folder = Path(os.environ.get("FUZZ_DOCUMENTS") or DOCUMENTS)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and 0 < path.stat().st_size <= LARGEST]
    return [path.read_bytes() for path in files]


def truncate(drawn: random.Random, body: bytes, _: bytes) -> bytes:
    return body[: drawn.randrange(len(body))]


def flip(drawn: random.Random, body: bytes, _: bytes) -> bytes:
    """A few bits anywhere; more of them near the beginning, where the structure is."""
    damaged = bytearray(body)
    reach = drawn.choice((64, 512, len(body)))
    for _ in range(drawn.choice((1, 2, 4, 16, 64))):
        damaged[drawn.randrange(min(reach, len(damaged)))] ^= 1 << drawn.randrange(8)
    return bytes(damaged)


def splice(drawn: random.Random, body: bytes, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return body[: drawn.randrange(len(body))] + other[drawn.randrange(len(other)) :]


def move(drawn: random.Random, body: bytes, _: bytes) -> bytes:
    """A piece once more, or elsewhere."""
    start, end = sorted(drawn.sample(range(len(body) + 1), 2))
    piece, place = body[start : min(end, start + 4096)], drawn.randrange(len(body))
    return body[:place] + piece + body[place + (0 if drawn.random() < 0.5 else len(piece)) :]


def overstate(drawn: random.Random, body: bytes, _: bytes) -> bytes:
    """Numbers that are far too large, or none, where sizes, offsets and counts stand."""
    damaged = bytearray(body)
    for _ in range(drawn.choice((1, 1, 2, 4))):
        place = drawn.randrange(min(len(damaged), drawn.choice((64, 1024, len(damaged)))))
        damaged[place : place + 4] = drawn.choice(EXTREMES)
    return bytes(damaged)


def renumber(drawn: random.Random, body: bytes, _: bytes) -> bytes:
    """One decimal number in a PDF becomes another: lengths, object numbers, coordinates."""
    digits = [place for place in range(len(body)) if body[place : place + 1].isdigit()]
    if not digits:
        return body[::-1]
    place = drawn.choice(digits)
    return body[:place] + drawn.choice((b"0", b"9999999999", b"-1", b"1e99", b"2147483648")) + body[place + 1 :]


MUTATIONS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    truncate, flip, flip, splice, move, overstate, overstate, renumber,
)  # fmt: skip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_are_failures_of_their_own(count: int, tmp_path: Path) -> None:
    drawn = random.Random(SEED)
    whole = [*images(), *pdfs(), *samples()]
    path, sound = tmp_path / "damaged", tmp_path / "sound"
    sound.write_bytes(whole[0])
    outcomes: Counter[str] = Counter()
    with Sandbox(LIMITS) as sandbox:
        pixels = first_page(sandbox, sound)
        for number in range(count):
            body = whole[number % len(whole)]
            for _ in range(drawn.choice((1, 1, 2))):
                body = drawn.choice(MUTATIONS)(drawn, body, drawn.choice(whole)) or b"\0"
            path.write_bytes(body)
            started, calls = time.monotonic(), 1
            try:
                opened = sandbox.open(path)
                for index in range(min(PAGES, opened.page_count)):
                    calls += 1
                    page = sandbox.page(index)
                    assert page.image.shape[0] * page.image.shape[1] <= LIMITS.max_pixels
                outcomes["read"] += 1
            except DocumentError as error:
                outcomes[error.code.code] += 1
            # A death after other work is tried again in a new child, so a call may take twice as long.
            assert time.monotonic() - started < 2 * calls * TIMEOUT + GRACE, f"input {number}"
            if number % 100 == 99:
                assert first_page(sandbox, sound) == pixels, "a sound file reads as ever"
    print(dict(outcomes.most_common()))
    assert outcomes["read"] and outcomes["IMAGE_BROKEN"] and outcomes["PDF_BROKEN"]


def first_page(sandbox: Sandbox, path: Path) -> bytes:
    sandbox.open(path)
    return sandbox.page(0).image.tobytes()
