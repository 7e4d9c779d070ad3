"""PDF pages to pixels: size, resolution, rotation, passwords, damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pikepdf
import pypdfium2 as pdfium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ocrbatch.documents import pdf
from ocrbatch.documents.limits import Limits
from ocrbatch.documents.pdf import PdfPages, fit_scale
from ocrbatch.errors import DocumentError

LIMITS = Limits(dpi=144, max_pixels=32_000_000, max_image_pixels=1_000_000)
RED_SQUARE = b"1 0 0 rg 0 0 30 20 re f"  # in the bottom-left corner


def document(sizes: list[tuple[float, float]], content: bytes = RED_SQUARE, rotate: int = 0) -> pikepdf.Pdf:
    made = pikepdf.new()
    for width, height in sizes:
        made.add_blank_page(page_size=(max(3, width), max(3, height)))
        page = made.pages[-1]
        page.MediaBox = pikepdf.Array([0, 0, width, height])
        page.Contents = made.make_stream(content)
        page.Rotate = rotate
    return made


def decode(pages: PdfPages, index: int) -> np.ndarray:
    raster = pages.page(index)
    body = b"".join(bytes(strip) for strip in raster.strips)
    return np.frombuffer(body, np.uint8).reshape(raster.height, raster.width, 3)


def save(made: pikepdf.Pdf, path: Path, **options: object) -> Path:
    made.save(path, **options)
    return path


def is_red(pixel: np.ndarray) -> bool:
    return tuple(pixel) == (255, 0, 0)


def is_white(pixel: np.ndarray) -> bool:
    return tuple(pixel) == (255, 255, 255)


def test_page_is_rgb_on_white_at_the_resolution(tmp_path: Path) -> None:
    pages = PdfPages(save(document([(100, 50), (33.3, 10.1)]), tmp_path / "a.pdf"), [], LIMITS)
    assert pages.page_count == 2
    pixels = decode(pages, 0)
    assert pixels.shape == (100, 200, 3)
    assert is_red(pixels[-5, 5])
    assert is_white(pixels[5, -5])
    assert decode(pages, 1).shape == (21, 67, 3)  # rounded up
    assert pages.page(0).dpi == 144
    assert pages.page(0).width == 200


@pytest.mark.parametrize(("rotate", "shape", "corner"), [
    (0, (100, 200), (-5, 5)),
    (90, (200, 100), (5, 5)),
    (180, (100, 200), (5, -5)),
    (270, (200, 100), (-5, -5)),
])  # fmt: skip
def test_rotation(tmp_path: Path, rotate: int, shape: tuple[int, int], corner: tuple[int, int]) -> None:
    pages = PdfPages(save(document([(100, 50)], rotate=rotate), tmp_path / "a.pdf"), [], LIMITS)
    pixels = decode(pages, 0)
    assert pixels.shape == (*shape, 3)
    assert is_red(pixels[corner])


def test_same_pixels_as_paddlex_renders(tmp_path: Path) -> None:
    """PaddleX: init_forms, page.render(scale=2), BGR."""
    made = document([(200, 300)], content=b"BT /F 24 Tf 10 100 Td (Invoice 4711) Tj ET 0 0 1 RG 5 5 m 190 290 l S")
    font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
    made.pages[0].Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=font))
    path = save(made, tmp_path / "a.pdf")
    reference = pdfium.PdfDocument(path)
    reference.init_forms()
    bgr = reference[0].render(scale=2).to_numpy()
    pixels = decode(PdfPages(path, [], LIMITS), 0)
    assert (pixels < 128).any()
    np.testing.assert_array_equal(pixels, bgr[:, :, ::-1])


def test_form_fields_are_drawn(tmp_path: Path) -> None:
    made = document([(100, 100)], content=b"")
    appearance = made.make_stream(b"0 0 1 rg 0 0 80 80 re f")
    appearance.stream_dict = pikepdf.Dictionary(
        Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form, BBox=pikepdf.Array([0, 0, 80, 80])
    )
    field = made.make_indirect(pikepdf.Dictionary(
        Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Widget, FT=pikepdf.Name.Tx, T="name", F=4,
        Rect=pikepdf.Array([10, 10, 90, 90]), AP=pikepdf.Dictionary(N=made.make_indirect(appearance)),
    ))  # fmt: skip
    made.pages[0].Annots = pikepdf.Array([field])
    made.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([field]))
    pixels = decode(PdfPages(save(made, tmp_path / "a.pdf"), [], LIMITS), 0)
    assert not is_white(pixels[100, 100])


def test_a_large_page_is_rendered_at_a_lower_dpi(tmp_path: Path) -> None:
    limits = Limits(dpi=144, max_pixels=10_000, max_image_pixels=1)
    pages = PdfPages(save(document([(5000, 2500)]), tmp_path / "a.pdf"), [], limits)
    raster = pages.page(0)
    assert 9_500 < raster.width * raster.height <= 10_000
    assert raster.dpi is not None
    assert raster.width == int(np.ceil(5000 * raster.dpi / 72))
    assert raster.dpi < 144


@pytest.mark.parametrize("size", [(0.01, 0.01), (1, 1), (14_400, 0.02)])
def test_tiny_pages_have_a_pixel(tmp_path: Path, size: tuple[float, float]) -> None:
    pages = PdfPages(save(document([size]), tmp_path / "a.pdf"), [], LIMITS)
    pixels = decode(pages, 0)
    assert min(pixels.shape[:2]) >= 1


def test_a_crop_box_off_the_paper_is_a_blank_page(tmp_path: Path) -> None:
    made = document([(100, 100)])
    made.pages[0].CropBox = pikepdf.Array([200, 200, 300, 300])
    pixels = decode(PdfPages(save(made, tmp_path / "a.pdf"), [], LIMITS), 0)
    assert pixels.shape == (1, 1, 3)
    assert pixels.min() == 255


@given(
    st.floats(1e-3, 1e6), st.floats(1e-3, 1e6), st.floats(0.01, 20), st.integers(1_000, 100_000_000)
)  # fmt: skip
def test_fit_scale_fits_and_wastes_little(width: float, height: float, scale: float, max_pixels: int) -> None:
    found = fit_scale(width, height, scale, max_pixels)
    assert 0 < found <= scale
    assert np.ceil(width * found) * np.ceil(height * found) <= max_pixels
    if found < scale:
        assert np.ceil(width * found * 1.001) * np.ceil(height * found * 1.001) > max_pixels


@pytest.mark.parametrize("revision", [2, 3, 4, 6])
def test_passwords_are_tried_in_turn(tmp_path: Path, revision: int) -> None:
    encryption = pikepdf.Encryption(user="geheim", owner="boss", R=revision, aes=revision >= 4, metadata=revision >= 4)
    path = save(document([(100, 50)]), tmp_path / "a.pdf", encryption=encryption)
    for given_words, words in (([], "no password was given"), (["x", "y"], "no password that was given")):
        with pytest.raises(DocumentError, match=words) as caught:
            PdfPages(path, given_words, LIMITS)
        assert caught.value.code.code == "PDF_PASSWORD"
        assert "x" not in str(caught.value).split()
    for good in (["geheim"], ["x", "geheim"], ["boss"]):
        assert is_red(decode(PdfPages(path, good, LIMITS), 0)[-5, 5])


def test_an_empty_user_password_needs_none(tmp_path: Path) -> None:
    encryption = pikepdf.Encryption(user="", owner="boss")
    path = save(document([(100, 50)]), tmp_path / "a.pdf", encryption=encryption)
    assert PdfPages(path, [], LIMITS).page_count == 1


def test_passwords_beyond_ascii(tmp_path: Path) -> None:
    path = save(document([(9, 9)]), tmp_path / "a.pdf", encryption=pikepdf.Encryption(user="Schlüssel", owner="o", R=6))
    assert PdfPages(path, ["Schlüssel"], LIMITS).page_count == 1


def code_of(path: Path) -> str:
    with pytest.raises(DocumentError) as caught:
        PdfPages(path, [], LIMITS)
    return caught.value.code.code


def test_whole_documents_that_fail(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.7\nnonsense")
    assert code_of(path) == "PDF_BROKEN"
    save(pikepdf.new(), path)
    assert code_of(path) == "PDF_NO_PAGES"
    locked = save(document([(9, 9)]), tmp_path / "b.pdf", encryption=pikepdf.Encryption(user="u", owner="o"))
    assert code_of(locked) == "PDF_PASSWORD"
    assert code_of(path) == "PDF_NO_PAGES"  # not what the one before it was
    body = save(document([(9, 9)]), path).read_bytes()
    assert b"/Count 1 " in body
    path.write_bytes(body.replace(b"/Count 1 ", b"/Count 900000 "))
    assert code_of(path) == "PDF_BROKEN"


def test_a_missing_page_fails_alone(tmp_path: Path) -> None:
    made = document([(100, 50)] * 3)
    made.Root.Pages.Kids[1] = pikepdf.Dictionary(Type=pikepdf.Name.Nonsense)
    pages = PdfPages(save(made, tmp_path / "a.pdf"), [], LIMITS)
    assert pages.page_count == 3
    assert is_red(decode(pages, 0)[-5, 5])
    with pytest.raises(DocumentError, match="Page 2 of 3") as caught:
        pages.page(1)
    assert caught.value.code.code == "PDF_PAGE_BROKEN"
    assert is_red(decode(pages, 2)[-5, 5])


def test_junk_before_the_header(tmp_path: Path) -> None:
    body = io.BytesIO()
    document([(100, 50)]).save(body)
    (tmp_path / "a.pdf").write_bytes(b"\x1b%-12345X@PJL\n" + body.getvalue())
    assert is_red(decode(PdfPages(tmp_path / "a.pdf", [], LIMITS), 0)[-5, 5])


def test_reopening_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (50, 50), np.uint8)) for n in range(6)]
    noise[0].save(tmp_path / "a.pdf", save_all=True, append_images=noise[1:])
    steady = PdfPages(tmp_path / "a.pdf", [], LIMITS)
    expected = [decode(steady, index) for index in range(6)]
    monkeypatch.setattr(pdf, "RENEW_BYTES", -(1 << 40))
    monkeypatch.setattr(pdf, "RENEW_PAGES", 2)
    renewed = PdfPages(tmp_path / "a.pdf", [], LIMITS)
    opened = [id(renewed._document)]
    for index in range(6):
        np.testing.assert_array_equal(decode(renewed, index), expected[index])
        if id(renewed._document) != opened[-1]:
            opened.append(id(renewed._document))
    assert len(opened) >= 3
