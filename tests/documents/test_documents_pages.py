"""Which pages are asked for, and what becomes of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ocrbatch.config import DocumentsConfig
from ocrbatch.documents.pages import PageFailure, PageSelection, iter_pages, parse_pages
from ocrbatch.documents.sandbox import Sandbox
from ocrbatch.errors import UsageError


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("", 3, [0, 1, 2]),
        ("  ", 2, [0, 1]),
        ("2", 5, [1]),
        ("1-3,7,10-", 12, [0, 1, 2, 6, 9, 10, 11]),
        ("1-3, 7 ,10 - ", 8, [0, 1, 2, 6]),
        ("3-,1-4", 5, [0, 1, 2, 3, 4]),
        ("-2", 5, [0, 1]),
        ("5,5,4", 9, [3, 4]),
        ("9", 3, []),
        ("2-9", 3, [1, 2]),
    ],
)
def test_ranges(text: str, count: int, expected: list[int]) -> None:
    assert list(parse_pages(text).indexes(count)) == expected


@pytest.mark.parametrize("text", ["0", "a", "1-2-3", "3-1", "1,,2", "-", "1;2", "-0", "0-4", "1.5", "1" * 30, "²"])
def test_bad_ranges_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match=r"documents\.pages"):
        parse_pages(text)


@given(st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 30)), max_size=4), st.integers(1, 25))
def test_indexes_are_ascending_unique_and_inside(ranges: list[tuple[int, int | None]], count: int) -> None:
    indexes = list(PageSelection(tuple(ranges)).indexes(count))
    assert indexes == sorted(set(indexes))
    wanted = {i for i in range(count) if not ranges or any(a <= i and (b is None or i <= b) for a, b in ranges)}
    assert set(indexes) == wanted


def test_a_million_pages_are_not_listed() -> None:
    assert isinstance(parse_pages("5-").indexes(10**9), range)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(DocumentsConfig()) as made:
        yield made


@pytest.fixture
def fax(tmp_path: Path) -> Path:
    frames = [Image.new("L", (8, 8), n) for n in range(5)]
    frames[0].save(tmp_path / "fax.tif", save_all=True, append_images=frames[1:])
    return tmp_path / "fax.tif"


def test_selection_and_skip(sandbox: Sandbox, fax: Path) -> None:
    pages = list(iter_pages(sandbox, fax, selection=parse_pages("2-4"), skip={2}))
    assert [(page.page_index, int(page.image[0, 0, 0])) for page in pages] == [(1, 1), (3, 3)]
    assert all(page.page_count == 5 for page in pages)


def test_a_selection_that_leaves_nothing_says_so(sandbox: Sandbox, fax: Path) -> None:
    (failure,) = iter_pages(sandbox, fax, selection=parse_pages("9-"))
    assert isinstance(failure, PageFailure)
    assert (failure.page_index, failure.page_count, failure.error.code.code) == (None, 5, "PAGES_EMPTY")
    assert "5 pages" in str(failure.error)


def test_everything_done_is_silent(sandbox: Sandbox, fax: Path) -> None:
    assert list(iter_pages(sandbox, fax, skip=range(5))) == []


def test_a_single_image_is_read_whatever_the_selection(sandbox: Sandbox, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (page,) = iter_pages(sandbox, tmp_path / "a.png", selection=parse_pages("2-"))
    assert not isinstance(page, PageFailure)


def test_a_document_that_fails_is_one_failure(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 nonsense")
    (failure,) = iter_pages(sandbox, tmp_path / "a.pdf")
    assert isinstance(failure, PageFailure)
    assert (failure.page_index, failure.page_count, failure.error.code.code) == (None, None, "PDF_BROKEN")
