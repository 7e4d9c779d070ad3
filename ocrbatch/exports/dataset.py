"""Rows of a published dataset, read back for exports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ocrbatch.errors import UsageError
from ocrbatch.records import Line
from ocrbatch.storage import Storage, join


def open_pages(storage: Storage, output: str) -> ds.Dataset:
    """OUTPUT/pages as one table. Raises UsageError where nothing is published yet."""
    filesystem, path = storage.arrow(join(output, "pages"))
    try:
        found = ds.dataset(path, filesystem=filesystem, format="parquet")
    except (FileNotFoundError, pa.ArrowInvalid):
        found = None
    if found is None or not found.files:
        raise UsageError(f"{output} has no pages yet", "Give the folder that was --output of `ocrbatch run`.")
    return found


def find_page(storage: Storage, output: str, uri: str | None, page_index: int) -> dict[str, Any]:
    """One row of pages/, of the newest version of the document.

    uri: whole, or an end of one such as a file name; None takes the first document. Raises UsageError that names near
    ones.
    """
    pages = open_pages(storage, output)
    keys = pages.to_table(columns=["uri", "page_index", "document_mtime"]).combine_chunks()
    if uri is not None:
        exact = pc.equal(keys["uri"], uri)
        keys = keys.filter(exact) if pc.any(exact).as_py() else keys.filter(pc.ends_with(keys["uri"], uri))
    names = sorted(set(keys["uri"].to_pylist()))
    if not names:
        raise UsageError(f"no page of {uri!r} is in {output}", "`ocrbatch status` says what failed.")
    if uri is not None and len(names) > 1:
        raise UsageError(
            f"{uri!r} fits {len(names)} documents, {names[0]} and {names[1]} among them", "Give more of the path."
        )
    rows = pages.to_table(filter=(ds.field("uri") == names[0]) & (ds.field("page_index") == page_index))
    if not rows.num_rows:
        have = sorted(keys.filter(pc.equal(keys["uri"], names[0]))["page_index"].to_pylist())
        raise UsageError(
            f"{names[0]} has no page {page_index + 1}", f"It has the pages {have[0] + 1} to {have[-1] + 1}."
        )
    row: dict[str, Any] = rows.sort_by([("document_mtime", "descending")]).slice(0, 1).to_pylist()[0]
    return row


def lines_of(row: dict[str, Any]) -> list[Line]:
    """The lines of a row of pages/."""
    columns = (row[name] for name in ("texts", "scores", "polygons", "det_scores", "line_angles"))
    return [
        Line(text, score, np.array(polygon, np.int32).reshape(-1, 2), det_score, angle)
        for text, score, polygon, det_score, angle in zip(*columns, strict=True)
    ]
