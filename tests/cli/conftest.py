"""Outputs made without Ray."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from row_examples import failure_row, page_row

from ocrbatch.config import OutputConfig
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.parquet import stage
from ocrbatch.storage import Storage


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two published pages, an open failure that may pass, and one that can't."""
    folder, storage = tmp_path / "out", Storage()
    pages = [page_row(uri=f"/in/{name}.png") for name in "ab"]
    failures = [
        failure_row(uri="/in/c.pdf", code="FROM_THE_FUTURE", stage="x", retryable=False),
        failure_row(uri="/in/d.pdf", attempt=3),
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
    row = page_row(uri=str(image), etag=Storage().stat(str(image)).etag)
    pq.write_table(pa.Table.from_pylist([row], schema=PAGES), folder / "pages/part-0.parquet")
    return folder
