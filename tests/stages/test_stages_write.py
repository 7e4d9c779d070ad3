"""What the write task stages, and what it tells the driver."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ocrbatch.config import load
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.stages.base import FAILURE, IGNORED, PAGE, ROW
from ocrbatch.stages.batches import packed
from ocrbatch.stages.recognize import LINES
from ocrbatch.stages.spans import Span
from ocrbatch.stages.write import Imprint, WriteStage, Written, partition

MTIME = datetime(2026, 11, 20, tzinfo=UTC)


def finished(*rows, extra=None):
    """Rows as they leave the last model stage."""
    base = {"etag": "e", "mtime": MTIME, "attempt": 1, "page_count": 2, "width": 10, "height": 20, "page_sha256": "s"}
    lines = {"texts": ["a", ""], "scores": [0.5, 0.0], "polygons": [[0] * 8, [1] * 8], "boxes": [[0] * 4, [1] * 4],
             "det_scores": [0.9, 0.8], "line_angles": [-1, -1], "rejected_polygons": [], "text": "a\n"}  # fmt: skip
    full = [{**base, **(lines if row["outcome"] == PAGE else {}), **row} for row in rows]
    schema = pa.schema([*ROW, *LINES])
    table = pa.Table.from_pylist(full, schema=schema)
    return table if extra is None else table.append_column("extra", extra)


def stage_for(tmp_path, **output):
    overrides = [f"output.uri={tmp_path}", *(f"output.{key}={value}" for key, value in output.items())]
    return WriteStage(load("", overrides), Imprint(7, "run-1", "f" * 16, ("det", "rec"), date(2026, 11, 20)))


def failed(uri, index):
    failure = {"code": "PDF_BROKEN", "stage": "decode", "message": "m", "remedy": "r", "retryable": False}
    return {"uri": uri, "page_index": index, "outcome": FAILURE, "failure": failure}


def test_one_block_becomes_pages_failures_and_ignored(tmp_path):
    block = finished(
        {"uri": "a.pdf", "page_index": 0, "outcome": PAGE},
        {"uri": "a.pdf", "page_index": 1, "outcome": PAGE, "texts": [], "scores": [], "polygons": [], "boxes": [],
         "det_scores": [], "line_angles": []},
        failed("b.pdf", None) | {"page_count": None},
        {"uri": "notes.txt", "outcome": IGNORED, "page_count": None},
    )  # fmt: skip
    written = stage_for(tmp_path).rows(block)
    assert (written.pages, written.lines, written.blank) == (2, 2, 1)
    assert written.ignored == (("notes.txt", "e"),)
    pages, failures = written.parts
    assert [(h.uri, h.page_count, h.pages) for h in pages.pages] == [("a.pdf", 2, (0, 1))]
    table = pq.read_table(tmp_path / pages.path)
    assert table.schema.remove_metadata().equals(PAGES)
    assert table["document_mtime"].to_pylist() == [MTIME, MTIME]
    assert table["fingerprint"].to_pylist() == ["f" * 16] * 2
    assert [(f.uri, f.page_index, f.code) for f in failures.failures] == [("b.pdf", None, "PDF_BROKEN")]
    assert pq.read_table(tmp_path / failures.path).schema.remove_metadata().equals(FAILURES)
    assert not list(tmp_path.glob("pages")), "staged files must not be where readers look"


def test_what_was_done_travels_to_the_driver_with_the_spans_of_its_batch(tmp_path):
    before = Span("read", "w", 1, 1, 1, 2, 1)
    rows = finished({"uri": "a.pdf", "page_index": 0, "outcome": PAGE}, failed("b.pdf", 3))
    (written,) = Written.decode(stage_for(tmp_path)(packed(rows, [before])))
    assert written.spans[0] == before
    assert [span.stage for span in written.spans] == ["read", "write"]
    assert (written.pages, len(written.parts), written.failures[0]["uri"]) == (1, 2, "b.pdf")


def test_the_driver_learns_which_failures_a_run_tries_again(tmp_path):
    rows = [failed(f"{attempt}.pdf", None) | {"attempt": attempt} for attempt in (1, 2, 3)]
    rows = [row | {"failure": row["failure"] | {"retryable": True}} for row in rows] + [failed("final.pdf", None)]
    written = stage_for(tmp_path).rows(finished(*rows))
    said = [(failure["uri"], failure["attempt"], failure["again"]) for failure in written.failures]
    assert said == [("1.pdf", 1, True), ("2.pdf", 2, True), ("3.pdf", 3, False), ("final.pdf", 1, False)]


def test_pass_through_columns_keep_their_type(tmp_path):
    extra = pa.array([{"shelf": 7}], pa.struct([("shelf", pa.int16())]))
    written = stage_for(tmp_path).rows(finished({"uri": "a", "page_index": 0, "outcome": PAGE}, extra=extra))
    table = pq.read_table(tmp_path / written.parts[0].path)
    assert table.schema.field("shelf").type == pa.int16()
    assert table["shelf"].to_pylist() == [7]


def test_partitions_from_the_path(tmp_path):
    rows = [{"uri": f"s3://b/site={site}/x.png", "page_index": 0, "outcome": PAGE} for site in ("x", "y", "x")]
    for i, row in enumerate(rows):
        row["etag"] = str(i)
    stage = stage_for(tmp_path, partition_by="'site=(?P<site>[^/]+)'")
    written = stage.rows(finished(*rows))
    assert sorted((part.partition, part.rows) for part in written.parts) == [("site=x", 2), ("site=y", 1)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (None, ""),
        ("run_date", "run_date=2026-11-20"),
        (r"(?P<y>\d{4})/(?P<m>\d\d)", "y=2024/m=05"),
        (r"(?P<none>ZZZ)", "none=__HIVE_DEFAULT_PARTITION__"),
    ],
)
def test_partition_rules(rule, expected):
    assert partition("s3://b/2024/05/x.pdf", rule, date(2026, 11, 20)) == expected
