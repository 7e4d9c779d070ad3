"""Rows of a published dataset, read back for exports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from ocrbatch.errors import UsageError
from ocrbatch.records import Line
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.storage import Storage, join


def find_page(storage: Storage, output: str, uri: str | None, page_index: int) -> dict[str, Any]:
    """One row of pages/, of the newest version of the document.

    uri: whole, or the last names of its path, such as the file's; None takes the first document. Raises UsageError that
    names near ones, or says why the page could not be read.
    """
    pages, failures = _opened(storage, output, "pages", PAGES), _opened(storage, output, "failures", FAILURES)
    name = _document(pages, failures, uri, output)
    here, page = ds.field("uri") == name, ds.field("page_index") == page_index
    rows = pages.to_table(filter=here & page)
    if rows.num_rows:
        row: dict[str, Any] = rows.sort_by([("document_mtime", "descending")]).slice(0, 1).to_pylist()[0]
        return row
    have = pages.to_table(columns=["page_index"], filter=here)["page_index"].to_pylist()
    # A failure of the whole document is past once it has pages.
    failed = failures.to_table(filter=here & (page if have else page | ds.field("page_index").is_null()))
    if failed.num_rows:
        last = failed.sort_by([("attempt", "descending")]).slice(0, 1).to_pylist()[0]
        raise UsageError(
            f"page {page_index + 1} of {name} could not be read: {last['code']}: {last['message']}", last["remedy"]
        )
    remedy = f"It has the pages {min(have) + 1} to {max(have) + 1}." if have else "`ocrbatch status` says what failed."
    raise UsageError(f"{name} has no page {page_index + 1}", remedy)


def _opened(storage: Storage, output: str, kind: str, schema: pa.Schema) -> ds.Dataset:
    """OUTPUT/pages or OUTPUT/failures as one table, empty where nothing is published."""
    filesystem, path = storage.arrow(join(output, kind))
    try:
        found = ds.dataset(path, filesystem=filesystem, format="parquet")
    except (FileNotFoundError, pa.ArrowInvalid):
        found = None
    return found if found is not None and found.files else ds.dataset(schema.empty_table())


def _document(pages: ds.Dataset, failures: ds.Dataset, uri: str | None, output: str) -> str:
    """The URI of the one document that is meant."""
    read = _uris(pages)
    known = read | _uris(failures)
    if not known or (uri is None and not read):
        raise UsageError(f"{output} has no pages yet", "Give the folder that was --output of `ocrbatch run`.")
    if uri is None:
        return min(read)
    end = "/" + uri.lstrip("/")
    names = [uri] if uri in known else sorted(name for name in known if name.endswith(end))
    if not names:
        raise UsageError(f"{output} has no document {uri!r}", "Give its whole path, or whole names from its end.")
    if len(names) > 1:
        raise UsageError(
            f"{uri!r} fits {len(names)} documents, {names[0]} and {names[1]} among them", "Give more of the path."
        )
    return names[0]


def _uris(rows: ds.Dataset) -> set[str]:
    return set(rows.to_table(columns=["uri"])["uri"].unique().to_pylist())


def lines_of(row: dict[str, Any]) -> list[Line]:
    """The lines of a row of pages/."""
    columns = (row[name] for name in ("texts", "scores", "polygons", "det_scores", "line_angles"))
    return [
        Line(text, score, np.array(polygon, np.int32).reshape(-1, 2), det_score, angle)
        for text, score, polygon, det_score, angle in zip(*columns, strict=True)
    ]
