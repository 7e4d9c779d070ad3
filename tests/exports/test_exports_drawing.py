from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from ocrbatch.errors import UsageError
from ocrbatch.exports import fonts
from ocrbatch.exports.drawing import draw_page
from ocrbatch.records import Line


def line(text: str, *points: tuple[int, int]) -> Line:
    return Line(text=text, score=0.9, polygon=np.array(points, np.int32), det_score=0.9)


def box(text: str, x: int, y: int, width: int, height: int) -> Line:
    return line(text, (x, y), (x + width, y), (x + width, y + height), (x, y + height))


def page(height: int = 200, width: int = 300) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def ink(image: np.ndarray) -> np.ndarray:
    """Where text is: black or grey; the outlines are coloured."""
    return (image.max(axis=2) < 128) & (np.ptp(image.astype(int), axis=2) < 30)


@pytest.fixture
def font_file(tmp_path: Path) -> str:
    path = tmp_path / "aileron.ttf"
    path.write_bytes(ImageFont.load_default(20).path.getvalue())
    return str(path)


def test_a_page_without_lines_is_itself_beside_white() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    drawn = draw_page(image, [])
    assert drawn.shape == (40, 120, 3)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn[:, :60], image)
    assert (drawn[:, 60:] == 255).all()


def test_polygons_left_and_texts_right_stand_where_the_line_is() -> None:
    image = page()
    before = image.copy()
    drawn = draw_page(image, [box("Hello", 50, 80, 120, 40)])
    assert np.array_equal(image, before)
    left, right = drawn[:, :300], drawn[:, 300:]
    changed = (left != image).any(axis=2)
    assert changed[100, 110]
    changed[79:122, 49:172] = False
    assert not changed.any()
    ys, xs = np.nonzero(ink(right))
    assert len(ys) > 100
    assert (ys.min() >= 80, ys.max() <= 120, xs.min() >= 50, xs.max() <= 170) == (True,) * 4
    assert xs.min() < 60  # it begins at the left side


def test_a_long_text_is_made_small_enough() -> None:
    drawn = draw_page(page(), [box("a very long text in a narrow place " * 3, 20, 80, 200, 40)])[:, 300:]
    xs = np.nonzero(ink(drawn))[1]
    assert xs.max() <= 220
    assert xs.max() > 150


def test_a_tall_line_runs_from_top_to_bottom() -> None:
    right = draw_page(page(), [box("iiiiiiii", 100, 20, 20, 160)])[:, 300:]
    ys, xs = np.nonzero(ink(right))
    assert np.ptp(ys) > np.ptp(xs)
    assert ys.min() < 40
    # The letters' feet point to the left: an underscore is a stroke near the left side.
    feet = np.nonzero(ink(draw_page(page(), [box("____", 100, 20, 20, 160)])[:, 300:]))[1]
    assert feet.max() < 110


def test_a_slanted_line_is_slanted() -> None:
    right = draw_page(page(), [line("________", (20, 40), (260, 100), (255, 125), (15, 65))])[:, 300:]
    ys, xs = np.nonzero(ink(right))
    assert np.polyfit(xs, ys, 1)[0] == pytest.approx(60 / 240, abs=0.05)


def test_lines_differ_in_colour() -> None:
    drawn = draw_page(page(), [box("", 10, 20 * n, 100, 12) for n in range(8)])
    assert len({tuple(drawn[20 * n + 6, 50]) for n in range(8)}) == 8


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-400, 400), st.integers(-400, 400)), min_size=4, max_size=10),
    st.text(max_size=30),
)
def test_no_polygon_and_no_text_breaks_it(points: list[tuple[int, int]], text: str) -> None:
    image = page(60, 90)
    drawn = draw_page(image, [line(text, *points)])
    assert drawn.shape == (60, 180, 3)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_another_kind_of_image_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        draw_page(bad, [])


def test_a_given_font_is_used(font_file: str) -> None:
    assert fonts.choose("a\u6f22b", font_file) == (font_file, "a\u25a1b")
    # It has no Cyrillic, and no font of the system stands in for it.
    cyrillic, boxes = [box("\u0434\u0430", 50, 80, 120, 40)], [box("\u25a1\u25a1", 50, 80, 120, 40)]
    assert np.array_equal(draw_page(page(), cyrillic, font=font_file), draw_page(page(), boxes, font=font_file))


def test_a_missing_font_says_so(tmp_path: Path) -> None:
    nothing = tmp_path / "no.ttf"
    with pytest.raises(UsageError, match=r"no\.ttf"):
        draw_page(page(), [box("Hello", 50, 80, 120, 40)], font=str(nothing))
    nothing.write_bytes(b"this is no font")
    with pytest.raises(UsageError, match=r"no\.ttf"):
        fonts.load(str(nothing), 20)


def test_a_text_in_ascii_needs_no_font_of_the_system() -> None:
    assert fonts.choose("Total: 12.50") == (None, "Total: 12.50")


def test_what_no_font_has_becomes_a_box() -> None:
    font, text = fonts.choose("a\ue123")  # private use
    assert text in ("a\u25a1", "a\ue123")
    if not fonts.system_fonts():
        assert (font, text) == (None, "a\u25a1")
    right = draw_page(page(), [box("\ue123", 50, 80, 120, 40)])[:, 300:]
    assert ink(right).any()


def test_the_systems_fonts_are_files_that_load() -> None:
    for path in fonts.system_fonts():
        assert fonts.load(path, 20).getlength("abc") > 0
