"""Rows of a published dataset, read back for exports."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ocrbatch.errors import OutputInconsistentError, UsageError
from ocrbatch.records import Line
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.storage import Entry, Storage, join, redact
from ocrbatch.storage.ranges import BLOCK_BYTES, RangeFile

_READERS: Final = 16
_EXAMPLES: Final = 3


def find_page(storage: Storage, output: str, uri: str | None, page_index: int) -> dict[str, Any]:
    """One row of pages/, of the newest version of the document.

    uri: whole, or the last names of its path, such as the file's; None takes the first document. Raises UsageError that
    names near ones, or says why the page could not be read; StorageError, OutputInconsistentError where a part is no
    Parquet file any more.
    """
    pages, failures = (
        _Rows.of(storage, output, kind, schema) for kind, schema in (("pages", PAGES), ("failures", FAILURES))
    )
    name = _document(pages, failures, uri, output)
    here, page = pc.field("uri") == name, pc.field("page_index") == page_index
    rows = pages.table(filters=here & page)
    if rows.num_rows:
        row: dict[str, Any] = rows.sort_by([("document_mtime", "descending")]).slice(0, 1).to_pylist()[0]
        return row
    have = pages.table(columns=["page_index"], filters=here)["page_index"].to_pylist()
    # A failure of the whole document is past once it has pages.
    failed = failures.table(filters=here & (page if have else page | pc.field("page_index").is_null()))
    if failed.num_rows:
        last = failed.sort_by([("attempt", "descending")]).slice(0, 1).to_pylist()[0]
        raise UsageError(
            f"page {page_index + 1} of {name} could not be read: {last['code']}: {last['message']}", last["remedy"]
        )
    remedy = f"It has the pages {min(have) + 1} to {max(have) + 1}." if have else "`ocrbatch status` says what failed."
    raise UsageError(f"{name} has no page {page_index + 1}", remedy)


@dataclass(frozen=True, slots=True)
class _Rows:
    """OUTPUT/pages or OUTPUT/failures as one table, empty where nothing is published."""

    storage: Storage
    parts: list[Entry]
    schema: pa.Schema

    @classmethod
    def of(cls, storage: Storage, output: str, kind: str, schema: pa.Schema) -> _Rows:
        found = storage.list(join(output, kind))
        return cls(storage, [entry for entry in found if entry.uri.endswith(".parquet")], schema)

    def table(self, **asked: Any) -> pa.Table:
        """The rows that `pyarrow.parquet.read_table` gives. Raises StorageError, OutputInconsistentError."""
        with ThreadPoolExecutor(_READERS) as pool:
            tables = list(pool.map(lambda part: self._read(part, asked), self.parts))
        return pa.concat_tables(
            [table for table in tables if table.num_rows] or [self.schema.empty_table()], promote_options="default"
        )

    def _read(self, part: Entry, asked: dict[str, Any]) -> pa.Table:
        with io.BufferedReader(RangeFile(self.storage, part.uri, part.size or 0), BLOCK_BYTES) as file:
            try:
                return pq.read_table(file, **asked)
            except (pa.ArrowException, OSError) as error:  # Arrow's own: those of storage are none of these
                raise OutputInconsistentError(
                    f"{part.uri} can't be read as Parquet: {error}",
                    "`ocrbatch verify` says what else has been changed.",
                ) from error


def _document(pages: _Rows, failures: _Rows, uri: str | None, output: str) -> str:
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
        raise UsageError(f"{output} has no document {redact(uri)!r}", f"It has {_some(known)}.")
    if len(names) > 1:
        raise UsageError(
            f"{uri!r} fits {len(names)} documents, {names[0]} and {names[1]} among them", "Give more of the path."
        )
    return names[0]


def _some(known: set[str]) -> str:
    few = sorted(known)[:_EXAMPLES]
    return ", ".join(few) + f" and {len(known) - len(few)} more" * (len(known) > len(few))


def _uris(rows: _Rows) -> set[str]:
    return set(rows.table(columns=["uri"])["uri"].unique().to_pylist())


def lines_of(row: dict[str, Any]) -> list[Line]:
    """The lines of a row of pages/."""
    columns = (row[name] for name in ("texts", "scores", "polygons", "det_scores", "line_angles"))
    return [
        Line(text, score, np.array(polygon, np.int32).reshape(-1, 2), det_score, angle)
        for text, score, polygon, det_score, angle in zip(*columns, strict=True)
    ]
