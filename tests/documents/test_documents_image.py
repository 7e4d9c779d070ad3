"""Image files to pixels: every mode and container that Pillow writes, and what must become a failure."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ocrbatch.documents.child import open_pages
from ocrbatch.documents.colours import WHITE_LEVELS, scale_to_bytes
from ocrbatch.documents.limits import Limits
from ocrbatch.errors import DocumentError

LIMITS = Limits(dpi=144, max_pixels=32_000_000, max_image_pixels=1_000_000)


def picture(width: int = 61, height: int = 37) -> Image.Image:
    """Unlike itself however it is turned: a red top-left, a green top-right, a blue bottom-left."""
    pixels = np.full((height, width, 3), 230, np.uint8)
    pixels[:10, :10] = (250, 0, 0)
    pixels[:10, -10:] = (0, 250, 0)
    pixels[-10:, :10] = (0, 0, 250)
    return Image.fromarray(pixels)


def decode(path: Path, index: int = 0, limits: Limits = LIMITS) -> np.ndarray:
    kind, pages = open_pages(path, [], limits)
    assert kind == "image"
    raster = pages.page(index)
    body = b"".join(raster.strips)
    assert len(body) == raster.width * raster.height * 3
    pages.close()
    return np.frombuffer(body, np.uint8).reshape(raster.height, raster.width, 3)


def failure(path: Path, limits: Limits = LIMITS) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        decode(path, limits=limits)
    return caught.value


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("a.pcx", {}),
        ("a.tga", {}),
        ("a.tga", {"compression": "tga_rle"}),
        ("a.sgi", {}),
        ("a.dds", {}),
        ("a.webp", {"lossless": True}),
        ("a.jp2", {"irreversible": False}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.tif", {"compression": "tiff_adobe_deflate"}),
        ("a.tif", {"compression": "packbits"}),
        ("a.tif", {"compression": "zstd"}),
        ("a.tif", {"big_tiff": True}),
    ],
)
def test_lossless_formats_give_the_very_pixels(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path = tmp_path / name
    picture().save(path, **options)
    path = path.rename(tmp_path / "document.fuzz")  # the name says nothing
    np.testing.assert_array_equal(decode(path), np.asarray(picture()))


@pytest.mark.parametrize("name", ["a.jpg", "a.avif", "a.gif"])
def test_lossy_formats_come_close(tmp_path: Path, name: str) -> None:
    picture().save(tmp_path / name)
    assert np.abs(decode(tmp_path / name).astype(int) - np.asarray(picture())).mean() < 6


def test_extension_that_lies(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    picture().save(path, format="PNG")
    np.testing.assert_array_equal(decode(path), np.asarray(picture()))


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_lzw", "raw"])
def test_bilevel_tiff(tmp_path: Path, compression: str) -> None:
    bilevel = picture().convert("1")
    bilevel.save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(decode(tmp_path / "a.tif"), np.asarray(bilevel.convert("RGB")))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path: Path, name: str) -> None:
    paper = Image.new("CMYK", (32, 32), (0, 0, 0, 0))
    paper.paste((0, 0, 0, 255), (0, 0, 16, 32))
    paper.save(tmp_path / name)
    pixels = decode(tmp_path / name)
    assert pixels[:, :12].max() < 10
    assert pixels[:, 20:].min() > 245


def test_lab(tmp_path: Path) -> None:
    Image.new("LAB", (8, 8), (255, 128, 128)).save(tmp_path / "white.tif")
    assert decode(tmp_path / "white.tif").min() >= 250


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "a.png"), ("LA", "a.png"), ("LA", "a.tif"), ("RGBA", "a.tif")])
def test_transparent_pixels_show_white_paper(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 10))
    image.convert(mode).save(tmp_path / name)
    pixels = decode(tmp_path / name)
    assert pixels[:, :10].max() == 0
    assert pixels[:, 10:].min() == 255


@pytest.mark.parametrize(("mode", "key"), [("P", 0), ("L", 0), ("RGB", (0, 0, 0)), ("1", 0), ("I;16", 0)])
def test_a_transparent_colour_shows_white_paper(tmp_path: Path, mode: str, key: object) -> None:
    black = Image.fromarray(np.zeros((9, 9), np.uint16)) if mode == "I;16" else Image.new(mode, (9, 9), 0)
    black.save(tmp_path / "a.png", transparency=key)
    assert decode(tmp_path / "a.png").min() == 255


def test_half_transparent_is_composited(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 3), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert set(decode(tmp_path / "a.png").ravel()) == {127}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["jpg", "png", "webp", "tif", "tif-lzw"])
def test_orientation_is_honoured_once(tmp_path: Path, container: str, orientation: int) -> None:
    upright = picture()
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    extension, _, compression = container.partition("-")
    options: dict[str, object] = {"exif": exif}
    if extension == "tif":
        options = {"tiffinfo": {0x0112: orientation}, "compression": "tiff_lzw" if compression else None}
    if extension == "webp":
        options["lossless"] = True
    path = tmp_path / f"a.{extension}"
    if extension == "jpg":
        options["quality"] = 95
    stored.save(path, **options)
    pixels = decode(path).astype(int)
    assert pixels.shape == (37, 61, 3)
    assert np.abs(pixels - np.asarray(upright)).mean() < 4


def test_orientation_in_xmp(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture().save(tmp_path / "a.jpg", xmp=xmp)
    assert decode(tmp_path / "a.jpg").shape == (61, 37, 3)


def test_damaged_exif_costs_the_orientation_only(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), np.asarray(picture()))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_every_frame_of_a_tiff_is_a_page(tmp_path: Path, compression: str | None) -> None:
    frames = [Image.new("RGB", (10 + n, 20), (n * 40, 0, 0)) for n in range(5)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression=compression)
    _, pages = open_pages(tmp_path / "a.tif", [], LIMITS)
    assert pages.page_count == 5
    for index in (0, 1, 2, 3, 4, 1, 4, 0):  # any order
        raster = pages.page(index)
        assert raster.width == 10 + index
        assert b"".join(raster.strips)[:3] == bytes([index * 40, 0, 0])


def test_a_broken_frame_fails_alone(tmp_path: Path) -> None:
    frames = [Image.new("L", (64, 64), n) for n in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression="tiff_adobe_deflate")
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        at = image.tag_v2[273][0]
    body = bytearray((tmp_path / "a.tif").read_bytes())
    body[at : at + 8] = b"\xff" * 8
    (tmp_path / "a.tif").write_bytes(body)
    _, pages = open_pages(tmp_path / "a.tif", [], LIMITS)
    assert pages.page_count == 3
    assert b"".join(pages.page(0).strips)[:1] == b"\0"
    with pytest.raises(DocumentError, match="Frame 2 of 3") as caught:
        pages.page(1)
    assert caught.value.code.code == "IMAGE_BROKEN"
    assert b"".join(pages.page(2).strips)[:1] == b"\2"


def test_a_tiff_cut_off_in_its_chain_keeps_count(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 7).save(tmp_path / "a.tif")
    body = bytearray((tmp_path / "a.tif").read_bytes())
    (directory,) = struct.unpack("<L", body[4:8])
    (entries,) = struct.unpack("<H", body[directory : directory + 2])
    struct.pack_into("<L", body, directory + 2 + entries * 12, len(body) + 1000)
    (tmp_path / "a.tif").write_bytes(body)
    _, pages = open_pages(tmp_path / "a.tif", [], LIMITS)
    assert pages.page_count == 2
    assert b"".join(pages.page(0).strips) == b"\7" * 192
    with pytest.raises(DocumentError):
        pages.page(1)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_animations_give_their_first_frame(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))]
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if "w" in name else {})
    )
    _, pages = open_pages(tmp_path / name, [], LIMITS)
    assert pages.page_count == 1
    assert tuple(decode(tmp_path / name)[0, 0]) == (250, 0, 0)


def test_an_icon_gives_its_largest(tmp_path: Path) -> None:
    picture(64, 64).save(tmp_path / "a.ico", sizes=[(16, 16), (64, 64), (32, 32)])
    assert decode(tmp_path / "a.ico").shape == (64, 64, 3)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_deep_grey_reaches_white(tmp_path: Path, name: str, bits: int, white: int) -> None:
    samples = np.linspace(0, white, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(samples).save(tmp_path / name)
    pixels = decode(tmp_path / name)
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    assert np.abs(pixels[:, :, 0].astype(int) - samples * (255 / white)).max() <= 1


def test_float_is_stretched_and_nan_is_black(tmp_path: Path) -> None:
    samples = np.linspace(-3.0, 5.0, 64, dtype=np.float32).reshape(8, 8)
    samples[0, 0] = np.nan
    Image.fromarray(samples).save(tmp_path / "a.tif")
    pixels = decode(tmp_path / "a.tif")
    assert tuple(pixels[0, 0]) == (0, 0, 0)
    assert pixels.max() == 255
    assert (np.diff(pixels[1:, :, 0].ravel().astype(int)) >= 0).all()


def test_deep_negatives_are_turned(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        if image.tag_v2[262] != 0:
            pytest.skip("this Pillow does not write WhiteIsZero")
    np.testing.assert_array_equal(decode(tmp_path / "a.tif")[0, :, 0], [255, 0])


def test_strips_join_without_a_seam(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (1500, 1100), np.uint16)
    Image.fromarray(noise).save(tmp_path / "a.tif")
    limits = Limits(144, 1000, 10_000_000)
    np.testing.assert_array_equal(
        decode(tmp_path / "a.tif", limits=limits)[:, :, 0], scale_to_bytes(noise, noise.min(), noise.max())
    )


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_scaling_keeps_order_and_range(values: list[int]) -> None:
    samples = np.array([values], np.uint16)
    grey = scale_to_bytes(samples, float(samples.min()), float(samples.max()))
    order = np.argsort(samples[0], kind="stable")
    assert (np.diff(grey[0][order].astype(int)) >= 0).all()
    white = next(level for level in WHITE_LEVELS if max(values) <= level)
    assert np.abs(grey - samples * (255 / white)).max() <= 0.5 + 1e-9


@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_any_floats_become_grey(values: list[float]) -> None:
    samples = np.array([values], np.float32)
    finite = samples[np.isfinite(samples)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)
    grey = scale_to_bytes(samples, low, high)
    assert grey.dtype == np.uint8
    assert (grey[~np.isfinite(samples)] == 0).all()
    if finite.size:
        assert grey[samples == high].min() == 255


def test_sizes_are_checked_before_decoding(tmp_path: Path) -> None:
    chunk = struct.pack(">II5B", 50_000, 50_000, 8, 2, 0, 0, 0)
    ihdr = b"IHDR" + chunk
    idat = b"IDAT" + zlib.compress(b"")
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (ihdr, idat)]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    error = failure(tmp_path / "a.png")
    assert error.code.code == "IMAGE_BOMB"
    assert "2500000000 pixels" in str(error)


@pytest.mark.parametrize(("width", "bomb"), [(1000, False), (1001, True)])
def test_the_limit_is_exact(tmp_path: Path, width: int, bomb: bool) -> None:
    Image.new("1", (width, 1000)).save(tmp_path / "a.png")
    if bomb:
        assert failure(tmp_path / "a.png").code.code == "IMAGE_BOMB"
    else:
        assert decode(tmp_path / "a.png").shape == (1000, 1000, 3)


def test_the_limit_holds_for_later_frames_and_inside_icons(tmp_path: Path) -> None:
    frames = [Image.new("1", (10, 10)), Image.new("1", (2000, 2000))]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression="group4")
    _, pages = open_pages(tmp_path / "a.tif", [], LIMITS)
    assert pages.page(0).width == 10
    with pytest.raises(DocumentError) as caught:
        pages.page(1)
    assert caught.value.code.code == "IMAGE_BOMB"

    inner = io.BytesIO()
    Image.new("1", (3000, 3000)).save(inner, "PNG")
    body = inner.getvalue()
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(body), 22)
    (tmp_path / "a.ico").write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + body)
    assert failure(tmp_path / "a.ico").code.code == "IMAGE_BOMB"


def test_extreme_aspect_is_no_crime(tmp_path: Path) -> None:
    Image.new("L", (100_000, 1), 9).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").shape == (1, 100_000, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.ppm", "a.tif", "a.tga", "a.pcx"])
def test_cut_off_files_fail(tmp_path: Path, name: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8))
    noise.save(tmp_path / name)
    body = (tmp_path / name).read_bytes()
    if name == "a.tif":  # the directory stands first, the strips are cut
        noise.save(tmp_path / name, compression="tiff_lzw")
        body = (tmp_path / name).read_bytes()
        with Image.open(tmp_path / name) as image:
            start = image.tag_v2[273][0]
        body = body[: start + 100]
    (tmp_path / name).write_bytes(body[: len(body) * 2 // 3] if name != "a.tif" else body)
    error = failure(tmp_path / name)
    assert error.code.code in ("IMAGE_TRUNCATED", "IMAGE_BROKEN")
    if name in ("a.jpg", "a.png", "a.bmp", "a.ppm"):
        assert error.code.code == "IMAGE_TRUNCATED"
        assert "cut off" in str(error)


def test_damaged_data_is_broken(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jp2")
    body = bytearray((tmp_path / "a.jp2").read_bytes())
    body[60:200] = b"\xff" * 140
    (tmp_path / "a.jp2").write_bytes(body)
    assert failure(tmp_path / "a.jp2").code.code == "IMAGE_BROKEN"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "FILE_EMPTY", "no bytes"),
        (b"PK\x03\x04rest", "FILE_UNKNOWN", "a ZIP archive or an Office document"),
        (b"Dear Sir or Madam,\n", "FILE_UNKNOWN", "plain text"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "FILE_UNKNOWN", "PostScript"),
        (b"\0" * 700, "FILE_UNKNOWN", "zero bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + b"\x07" * 17, "IMAGE_BROKEN", "damaged"),
        (b"II*\0\xff\xff\xff\xff", "IMAGE_BROKEN", "damaged"),
    ],
)
def test_what_is_no_image(tmp_path: Path, body: bytes, code: str, words: str) -> None:
    (tmp_path / "scan.png").write_bytes(body)
    error = failure(tmp_path / "scan.png")
    assert error.code.code == code
    assert words in str(error)
    assert error.remedy


def test_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.new("1", (1001, 1000)).save(tmp_path / "a.png")
    failure(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS
