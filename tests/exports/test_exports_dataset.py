"""Finding a page of a published dataset by what people type."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_examples import failure_row, page_row

from ocrbatch.config import StorageConfig
from ocrbatch.errors import AccessDeniedError, OutputInconsistentError, StorageError, UsageError
from ocrbatch.exports.dataset import find_page
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.storage import Storage

OLD, NEW = datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)


def page(uri: str, index: int = 0, text: str = "", mtime: datetime = NEW) -> dict[str, Any]:
    return page_row(uri=uri, page_index=index, page_count=9, text=text, document_mtime=mtime)


def failure(uri: str, index: int | None, code: str, attempt: int = 1) -> dict[str, Any]:
    said = {"message": f"message of {code}", "remedy": f"remedy of {code}"}
    return failure_row(uri=uri, page_index=index, code=code, attempt=attempt, **said)


def find(folder: Path, uri: str | None, number: int = 1) -> dict[str, Any]:
    return find_page(Storage(), str(folder), uri, number - 1)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    pages = [
        page("/in/invoice.pdf", 0, "first"),
        page("/in/invoice.pdf", 1, "second"),
        page("/in/old-invoice.pdf"),
        page("/in/all.zip!/scan.png"),
        page("/in/twice/a.png"),
        page("/in/again/a.png"),
        page("/in/changed.png", text="before", mtime=OLD),
        page("/in/changed.png", text="after", mtime=NEW),
    ]
    failures = [
        failure("/in/invoice.pdf", None, "FETCH_FAILED", 1),  # past: it was opened after all
        failure("/in/invoice.pdf", 2, "DECODE_TIMEOUT", 1),
        failure("/in/invoice.pdf", 2, "DETECT_FAILED", 2),
        failure("/in/locked.pdf", None, "PDF_PASSWORD"),
    ]
    for kind, rows, schema in (("pages", pages, PAGES), ("failures", failures, FAILURES)):
        (tmp_path / kind).mkdir()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / kind / "part-0.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("/in/invoice.pdf", "/in/invoice.pdf"),
        ("invoice.pdf", "/in/invoice.pdf"),
        ("in/invoice.pdf", "/in/invoice.pdf"),
        ("/invoice.pdf", "/in/invoice.pdf"),
        ("scan.png", "/in/all.zip!/scan.png"),
        ("all.zip!/scan.png", "/in/all.zip!/scan.png"),
        ("twice/a.png", "/in/twice/a.png"),
        (None, "/in/again/a.png"),
    ],
)
def test_a_document_is_named_by_its_path_or_by_whole_names_at_its_end(output: Path, typed: str, found: str) -> None:
    assert find(output, typed)["uri"] == found


def test_part_of_a_name_is_none(output: Path) -> None:
    with pytest.raises(UsageError, match=r"no document 'nvoice\.pdf'"):
        find(output, "nvoice.pdf")


def test_a_name_that_fits_several_is_not_guessed(output: Path) -> None:
    with pytest.raises(UsageError, match=r"fits 2 documents, /in/again/a\.png and /in/twice/a\.png"):
        find(output, "a.png")


def test_the_newest_version_and_the_page_that_was_asked_for(output: Path) -> None:
    assert find(output, "changed.png")["text"] == "after"
    assert find(output, "invoice.pdf", 2)["text"] == "second"


@pytest.mark.parametrize(
    ("typed", "number", "code"), [("invoice.pdf", 3, "DETECT_FAILED"), ("locked.pdf", 1, "PDF_PASSWORD")]
)
def test_a_page_that_failed_says_why(output: Path, typed: str, number: int, code: str) -> None:
    with pytest.raises(UsageError, match=f"{code}: message of {code}") as caught:
        find(output, typed, number)
    assert caught.value.remedy == f"remedy of {code}"


def test_a_page_that_never_was_says_which_are_there(output: Path) -> None:
    with pytest.raises(UsageError, match=r"/in/invoice\.pdf has no page 9") as caught:
        find(output, "invoice.pdf", 9)
    assert caught.value.remedy == "It has the pages 1 to 2."


def test_an_output_without_pages(output: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for uri in (None, "invoice.pdf"):
        with pytest.raises(UsageError, match="no pages yet"):
            find(tmp_path_factory.mktemp("empty"), uri)
    (output / "pages/part-0.parquet").unlink()
    with pytest.raises(UsageError, match="no pages yet"):
        find(output, None)
    with pytest.raises(UsageError, match="PDF_PASSWORD"):
        find(output, "locked.pdf")


@pytest.mark.parametrize("body", [b"", b"PAR1torn", None], ids=["empty", "torn", "changed"])
@pytest.mark.parametrize("name", ["part-0.parquet", "part-9.parquet"])
def test_a_part_that_was_changed_is_not_taken_for_nothing(output: Path, name: str, body: bytes | None) -> None:
    whole = (output / "pages/part-0.parquet").read_bytes()
    (output / "pages" / name).write_bytes(whole[:40] + bytes(200) + whole[240:] if body is None else body)
    with pytest.raises(OutputInconsistentError, match=name) as caught:
        find(output, None)
    assert "verify" in caught.value.remedy


def test_what_can_not_be_read_is_not_taken_for_nothing(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> bytes:
        raise AccessDeniedError("can't read it: access denied", "Check the permissions.")

    nobody = Storage(StorageConfig(endpoint_url="http://127.0.0.1:9", region="r", key="k", secret="s", retries=0))
    with pytest.raises(StorageError, match="did not answer"):
        find_page(nobody, "s3://bucket/out", None, 0)
    monkeypatch.setattr(Storage, "read", denied)
    with pytest.raises(AccessDeniedError):
        find(output, None)
