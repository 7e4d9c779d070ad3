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
from ocrbatch.stages.base import FAILURE, PAGE, STOP
from ocrbatch.stages.batches import unpacked
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
        stage = decode.DecodeStage(load("", [f"output.uri={tmp_path}"]), versions())
        for batch in stage(pa.table([[file.uri], [0]], schema=decode.PLACE)):
            for row in unpacked(batch).to_pylist():
                assert (row["uri"], row["etag"]) == (document.uri, document.etag)
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


@pytest.fixture
def shelves(tmp_path: Path):
    """Places in a manifest of three documents, each a row group, with a column that goes along with every page."""
    works = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (32 + number, 16)).save(path)
        works.append(Work(Document(str(path), Storage().stat(str(path)).etag, extra={"shelf": number})))
    extra = [pa.field("shelf", pa.int16())]
    (file,) = worklist.write(works, extra, Storage(), str(tmp_path / "run"), 1, group_rows=1)
    return pa.table([[file.uri] * 3, range(3)], schema=decode.PLACE)


def test_what_a_manifest_says_of_a_document_goes_along_with_its_pages_in_its_type(shelves, tmp_path):
    (batch,) = decode.DecodeStage(load("", [f"output.uri={tmp_path}"]), versions())(shelves)
    table = unpacked(batch)
    assert table.schema.field("extra").type == pa.struct([pa.field("shelf", pa.int16())])
    assert [row["shelf"] for row in table["extra"].to_pylist()] == [0, 1, 2]
    assert table["width"].to_pylist() == [32, 33, 34]
    assert [len(image) for image in table["image"].to_pylist()] == [3 * 16 * width for width in (32, 33, 34)]


def test_one_that_is_to_read_pages_alone_hands_on_each_by_itself(shelves, tmp_path):
    stage = decode.DecodeStage(load("", [f"output.uri={tmp_path}"]), versions(), alone=True)
    assert [len(unpacked(batch)) for batch in stage(shelves)] == [1, 1, 1]


def test_a_set_up_that_fails_ends_the_run_by_a_row_that_lacks_the_manifests_columns(shelves, tmp_path, monkeypatch):
    secrets = "documents.passwords=[{pattern: '*1.png', env: NOT_THERE}]"
    stage = decode.DecodeStage(load("", [f"output.uri={tmp_path}", secrets]), versions())
    (batch,) = stage(shelves)
    rows = unpacked(batch).to_pylist()
    assert [row["outcome"] for row in rows] == [PAGE, STOP]
    assert rows[0]["extra"] == {"shelf": 0}
    assert rows[1]["extra"] is None and "NOT_THERE" in rows[1]["failure"]["message"]
