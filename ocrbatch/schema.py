"""Versioned Arrow schemas of what is written. Columns are only ever added, each with a new SCHEMA_VERSION."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1

POLYGON: Final = pa.list_(pa.int32())  # x, y, x, y, ...
BOX: Final = pa.list_(pa.int32(), 4)  # xmin, ymin, xmax, ymax
WORD: Final = pa.struct([("text", pa.string()), ("polygon", POLYGON), ("box", BOX)])
TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


# One row a page. The manifest's pass-through columns follow (see `pages_schema`).
PAGES: Final = pa.schema(
    [
        _required("uri", pa.string()),
        _required("etag", pa.string()),
        _required("page_index", pa.int32()),
        _required("page_count", pa.int32()),
        _required("status", pa.string()),  # ok | skipped
        pa.field("skip_reason", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("dpi", pa.float32()),
        pa.field("angle", pa.int16()),
        _required("texts", pa.list_(pa.string())),
        _required("scores", pa.list_(pa.float32())),
        _required("polygons", pa.list_(POLYGON)),
        _required("boxes", pa.list_(BOX)),
        _required("det_scores", pa.list_(pa.float32())),
        _required("line_angles", pa.list_(pa.int16())),
        _required("rejected_polygons", pa.list_(POLYGON)),
        pa.field("words", pa.list_(pa.list_(WORD))),
        _required("text", pa.string()),
        pa.field("page_sha256", pa.string()),
        _required("fingerprint", pa.string()),
        _required("models", pa.list_(pa.string())),
        _required("schema_version", pa.int32()),
        _required("run_id", pa.string()),
        pa.field("document_mtime", TIMESTAMP),
    ]
)

# One row an attempt. page_index is null where the document could not be opened.
FAILURES: Final = pa.schema(
    [
        _required("uri", pa.string()),
        _required("etag", pa.string()),
        pa.field("page_index", pa.int32()),
        _required("code", pa.string()),
        _required("stage", pa.string()),
        _required("message", pa.string()),
        _required("remedy", pa.string()),
        _required("retryable", pa.bool_()),
        _required("attempt", pa.int32()),
        _required("run_id", pa.string()),
        _required("fingerprint", pa.string()),
    ]
)

# What one run has to do: one row a document, `done` the pages of it that need no reading any more.
MANIFEST: Final = pa.schema(
    [
        _required("uri", pa.string()),
        _required("etag", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime", TIMESTAMP),
        _required("done", pa.list_(pa.int32())),
        _required("attempt", pa.int32()),  # of this run at this document, from 1
    ]
)


def extra_type(fields: list[pa.Field]) -> pa.StructType:
    """The struct that carries a manifest's pass-through columns from stage to stage."""
    return pa.struct([pa.field(f.name, f.type, nullable=True) for f in fields])


def pages_schema(extra: list[pa.Field]) -> pa.Schema:
    """PAGES followed by the manifest's pass-through columns.

    Raises ValueError when one of those has the name of one of ours.
    """
    clash = sorted({f.name for f in extra} & set(PAGES.names))
    if clash:
        raise ValueError(f"the manifest's columns {clash} have the names of columns of the output")
    return pa.schema([*PAGES, *(pa.field(f.name, f.type, nullable=True) for f in extra)])
