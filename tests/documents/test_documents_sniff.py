"""What a file is, by its first bytes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ocrbatch.documents.sniff import HEAD_BYTES, describe, sniff


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "JPEG2000", "AVIF", "DDS", "ICNS", "QOI"])
def test_images_by_signature(format: str) -> None:
    body = io.BytesIO()
    Image.new("RGB", (16, 16)).save(body, format)
    assert sniff(body.getvalue()[:HEAD_BYTES]) == "image"


@pytest.mark.parametrize("lead", [0, 1, 500, 1024])
def test_pdf_header_behind_something_else(lead: int) -> None:
    assert sniff(b"\x1b" * lead + b"%PDF-1.4\n") == "pdf"


def test_pdf_header_too_late() -> None:
    assert sniff(b"x" * 1030 + b"%PDF-1.4\n") == "unknown"


def test_a_pdf_named_inside_an_image_is_still_an_image() -> None:
    body = io.BytesIO()
    Image.new("RGB", (4, 4)).save(body, "JPEG", comment=b"made from %PDF-1.4")
    assert sniff(body.getvalue()) == "image"


@given(st.binary(max_size=600))
def test_any_bytes_have_a_kind_and_a_description(head: bytes) -> None:
    assert sniff(head) in ("pdf", "image", "unknown", "empty")
    assert (sniff(head) == "empty") == (head == b"")
    assert isinstance(describe(head), str)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"<!doctype HTML><p>", "HTML"),
        ("Grüße, 世界\n".encode() * 60, "plain text"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\x80\x81\x82\x83 binary", ""),
    ],
)
def test_descriptions(head: bytes, words: str) -> None:
    assert words in describe(head)
    assert bool(words) == bool(describe(head))
