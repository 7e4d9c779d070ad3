"""Outputs made without Ray."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ocrbatch.config import OutputConfig
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.parquet import stage
from ocrbatch.storage import Storage

PAGE = {
    "etag": "e", "page_count": 1, "status": "ok", "width": 9, "height": 9, "texts": ["a"], "scores": [0.5],
    "polygons": [[0, 0, 9, 0, 9, 5, 0, 5]], "boxes": [[0, 0, 9, 5]], "det_scores": [0.9], "line_angles": [-1],
    "rejected_polygons": [], "text": "a", "fingerprint": "f", "models": ["m"], "schema_version": 1, "run_id": "r",
    "document_mtime": datetime(2026, 11, 20, tzinfo=UTC), "page_index": 0,
}  # fmt: skip
FAILURE = {"etag": "e", "message": "m", "remedy": "mend it", "run_id": "r", "fingerprint": "f"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two published pages, an open failure that may pass, and one that can't."""
    folder, storage = tmp_path / "out", Storage()
    pages = [PAGE | {"uri": f"/in/{name}.png"} for name in "ab"]
    failures = [
        FAILURE | {"uri": "/in/c.pdf", "code": "FROM_THE_FUTURE", "stage": "x", "retryable": False, "attempt": 1},
        FAILURE | {"uri": "/in/d.pdf", "code": "FETCH_FAILED", "stage": "fetch", "retryable": True, "attempt": 3},
    ]
    with Committer.open(storage, OutputConfig(uri=str(folder)), "r") as committer:
        tables = (("pages", PAGES, pages), ("failures", FAILURES, failures))
        committer.add(
            stage(storage, str(folder), committer.epoch, pa.Table.from_pylist(rows, schema=schema), kind)
            for kind, schema, rows in tables
        )
        committer.close()
    return folder


@pytest.fixture
def one_image(tmp_path: Path) -> Path:
    """A real image, and pages/ alone, which is all that `show` reads."""
    folder, image = tmp_path / "out", tmp_path / "page.png"
    Image.new("RGB", (90, 60), "white").save(image)
    (folder / "pages").mkdir(parents=True)
    row = PAGE | {"uri": str(image), "etag": Storage().stat(str(image)).etag}
    pq.write_table(pa.Table.from_pylist([row], schema=PAGES), folder / "pages/part-0.parquet")
    return folder
