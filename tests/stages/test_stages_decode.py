"""Decode, called as a plain function: what a document's pages become when it changes under the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from ocrbatch.config import load
from ocrbatch.documents.versions import versions
from ocrbatch.errors import DocumentError
from ocrbatch.pipeline import worklist
from ocrbatch.records import Document
from ocrbatch.sources.selection import Work
from ocrbatch.stages import decode
from ocrbatch.stages.base import FAILURE, PAGE
from ocrbatch.storage import Storage

FRAMES = 6


@pytest.fixture
def read(tmp_path: Path):
    """The rows of a TIFF of FRAMES pages, of which these are done."""
    frames = [Image.new("RGB", (64, 48), (40 * number, 0, 0)) for number in range(FRAMES)]
    path = tmp_path / "in.tiff"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    storage = Storage()
    document = Document(str(path), storage.stat(str(path)).etag)

    def rows(done: tuple[int, ...] = ()) -> Iterator[tuple[str, int | None, int | None]]:
        work = Work(document, done=done)
        (file,) = worklist.write([work], [], storage, str(tmp_path / "run"), 1)
        stage = decode.DecodeStage(load("", [f"output.uri={tmp_path}"]), versions(), 8)
        for table in stage.rows(pa.table([[file.uri], [0]], schema=decode.PLACE)):
            (row,) = table.select(["outcome", "page_index", "page_count", "failure"]).to_pylist()
            if row["outcome"] == FAILURE:
                assert row["failure"]["code"] == "FETCH_CHANGED"
            yield row["outcome"], row["page_index"], row["page_count"]

    return rows


@pytest.fixture
def replaced_after(monkeypatch: pytest.MonkeyPatch):
    """The document is another one from its n-th look on."""

    def at(looks: int) -> None:
        left = iter(range(looks))

        def look(*_: object) -> None:
            if next(left, None) is None:
                raise DocumentError("FETCH_CHANGED", "it was replaced")

        monkeypatch.setattr(decode, "require_same", look)

    return at


def test_a_document_that_is_replaced_while_it_is_read_fails_from_there_on(read, replaced_after):
    replaced_after(3)
    out = [(PAGE, index, FRAMES) for index in range(3)]
    assert list(read()) == out + [(FAILURE, index, FRAMES) for index in range(3, FRAMES)]
    replaced_after(2)
    assert list(read(done=(1, 4))) == [
        (PAGE, 0, FRAMES),
        (PAGE, 2, FRAMES),
        (FAILURE, 3, FRAMES),
        (FAILURE, 5, FRAMES),
    ]


def test_one_that_is_replaced_before_its_first_page_is_out_fails_as_a_whole(read, replaced_after):
    replaced_after(0)
    assert list(read()) == [(FAILURE, None, None)]
