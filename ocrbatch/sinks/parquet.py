"""Staged files: one Parquet file written by one PUT, whose footer says all that the log needs to know of it.

Invariant: a part's keys are read off its rows, never given, so the log can't say other than what the file holds; and
no key stands twice in a file. Files are made in memory: a staged one is a few MiB, a merged one
`output.target_file_mb`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.errors import NotFoundError, OutputInconsistentError
from ocrbatch.sinks.layout import Kind, merged_path, staged_path
from ocrbatch.sinks.log import FailedPage, HeldPages, Key, Part, part_from_json, part_to_json
from ocrbatch.storage import Storage, join

FOOTER: Final = b"ocrbatch.part"
# Rows of a merged file are gathered up to this size before they are written as one row group.
_ROW_GROUP_BYTES: Final = 32 << 20
_FAILURE_KEYS: Final = ("uri", "etag", "page_index", "attempt")
_PAGE_KEYS: Final = ("uri", "etag", "page_index")


def stage(
    storage: Storage,
    output: str,
    epoch: int,
    table: pa.Table,
    kind: Kind,
    *,
    partition: str = "",
    page_counts: Mapping[Key, int] | None = None,
    level: int = 3,
) -> Part:
    """Writes rows as one staged file, which no reader sees, and gives what the log is to know of it.

    table: at least one row of `schema.pages_schema(...)` or `schema.FAILURES`; of rows with the same key the first is
    kept. epoch: the committer's. partition: see `layout.hive_partition`; failures have none. page_counts: of
    documents that could be opened, for failures, whose rows don't tell. level: zstd.

    Raises StorageError; the file is then absent, or is found and used by a later run.
    """
    if kind == "failures" and partition:
        raise ValueError("failures are not partitioned")
    rows = _distinct(table, _PAGE_KEYS if kind == "pages" else _FAILURE_KEYS)
    if not rows.num_rows:
        raise ValueError("there is nothing to stage")
    part = Part(
        path=staged_path(epoch),
        kind=kind,
        partition=partition,
        rows=rows.num_rows,
        bytes=0,
        sha256="",
        schema=_schema_hash(rows.schema),
        fingerprints=tuple(sorted(set(rows["fingerprint"].to_pylist()))),
        pages=_held_pages(rows) if kind == "pages" else (),
        failures=_failed_pages(rows, page_counts or {}) if kind == "failures" else (),
    )
    return _put(storage, output, part, rows, level)


def _put(storage: Storage, output: str, part: Part, rows: pa.Table, level: int) -> Part:
    footer = json.dumps(part_to_json(part), separators=(",", ":"))
    sink = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata({FOOTER: footer}), sink, **_compressed(level))
    body = sink.getvalue()
    storage.put(join(output, part.path), body)
    return _with_file(part, part.path, body)


def _compressed(level: int) -> dict[str, Any]:
    return {"compression": "zstd", "compression_level": level, "write_page_checksum": True}


def _with_file(part: Part, path: str, body: bytes) -> Part:
    return replace(part, path=path, bytes=len(body), sha256=hashlib.sha256(body).hexdigest())


def _distinct(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The rows in the order of their keys, the first of each."""
    columns = [table[name].to_pylist() for name in keys]
    first: dict[tuple[Any, ...], int] = {}
    for row, key in enumerate(zip(*columns, strict=True)):
        first.setdefault(key, row)
    order = sorted(first, key=lambda key: tuple((value is not None, value) for value in key))
    return table.take(pa.array([first[key] for key in order], pa.int64())).combine_chunks()


def _held_pages(rows: pa.Table) -> tuple[HeldPages, ...]:
    pages: dict[Key, list[int]] = {}
    counts: dict[Key, int] = {}
    for uri, etag, index, count in _columns(rows, *_PAGE_KEYS, "page_count"):
        pages.setdefault((uri, etag), []).append(index)
        counts[uri, etag] = count
    return tuple(HeldPages(*key, counts[key], tuple(indexes)) for key, indexes in pages.items())


def _failed_pages(rows: pa.Table, page_counts: Mapping[Key, int]) -> tuple[FailedPage, ...]:
    columns = _columns(rows, "uri", "etag", "page_index", "code", "stage", "retryable", "attempt")
    return tuple(
        FailedPage(uri, etag, index, page_counts.get((uri, etag)), code, where, retryable, attempt)
        for uri, etag, index, code, where, retryable, attempt in columns
    )


def keys_of(kind: Kind, body: bytes) -> Iterator[tuple[Any, ...]]:
    """The keys of a file's rows: (uri, etag, page_index), and of failures the attempt; page_index may be None there."""
    keys = _PAGE_KEYS if kind == "pages" else _FAILURE_KEYS
    return _columns(pq.read_table(pa.BufferReader(body), columns=list(keys)), *keys)


def _columns(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(rows[name].to_pylist() for name in names), strict=True)


def _schema_hash(schema: pa.Schema) -> str:
    return hashlib.sha256(schema.remove_metadata().serialize()).hexdigest()[:16]


def find(storage: Storage, output: str, path: str) -> Part | None:
    """What a staged file that nobody told us of says of itself; None where it is not whole, or gone.

    Raises StorageError where it can't be read, so that trouble is never taken for damage.
    """
    try:
        body = storage.read(join(output, path))
    except NotFoundError:
        return None
    try:
        table = pq.read_table(pa.BufferReader(body), page_checksum_verification=True)
        part = part_from_json(json.loads((table.schema.metadata or {})[FOOTER]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return _with_file(part, path, body) if table.num_rows == part.rows else None


def reduce(storage: Storage, output: str, epoch: int, part: Part, fresh: Part, *, level: int = 3) -> Part:
    """Stages a copy of `part` with the rows of `fresh`'s keys alone; `fresh` is as `Ledger.admit` gave it."""
    rows = pq.read_table(pa.BufferReader(_checked(storage, output, part)))
    if part.kind == "pages":
        wanted: set[tuple[Any, ...]] = {(*d.key, index) for d in fresh.pages for index in d.pages}
        keys = _columns(rows, *_PAGE_KEYS)
    else:
        wanted = {(*f.key, f.page_index, f.attempt) for f in fresh.failures}
        keys = _columns(rows, *_FAILURE_KEYS)
    kept = rows.filter(pa.array([key in wanted for key in keys])).combine_chunks()
    return _put(storage, output, replace(fresh, path=staged_path(epoch), rows=kept.num_rows), kept, level)


def merge(storage: Storage, output: str, epoch: int, parts: Sequence[Part], *, level: int = 3) -> Part:
    """Stages one file with the rows of all `parts`, which are of one kind, partition and schema.

    Files go in the order of their first keys, the rows of each are in the order of theirs: so the result is sorted by
    (uri, etag, page_index) but where files overlap, and does not depend on the order of `parts`. Memory: the result,
    one part, and a row group of 32 MiB.

    Raises OutputInconsistentError where a part is gone or is not the file that was added.
    """
    sink = io.BytesIO()
    ordered = sorted(parts, key=lambda part: (_first_key(part), part.path))
    tables = (pq.read_table(pa.BufferReader(_checked(storage, output, part))) for part in ordered)
    rows = 0
    writer: pq.ParquetWriter | None = None
    for group in _row_groups(tables):
        if writer is None:
            writer = pq.ParquetWriter(sink, group.schema, **_compressed(level))
        writer.write_table(group, row_group_size=group.num_rows)
        rows += group.num_rows
    if writer is None:
        raise ValueError("there is nothing to merge")
    writer.close()
    body = sink.getvalue()
    path = merged_path(epoch)
    storage.put(join(output, path), body)
    return _with_file(replace(parts[0], rows=rows, pages=(), failures=()), path, body)


def _first_key(part: Part) -> tuple[str, str, int]:
    for document in part.pages:
        return (*document.key, document.pages[0])
    for failed in part.failures:
        return (*failed.key, -1 if failed.page_index is None else failed.page_index)
    return "", "", -1


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    gathered: list[pa.Table] = []
    size = 0
    for table in tables:
        gathered.append(table.replace_schema_metadata(None))
        size += table.nbytes
        if size >= _ROW_GROUP_BYTES:
            yield pa.concat_tables(gathered)
            gathered, size = [], 0
    if gathered:
        yield pa.concat_tables(gathered)


def _checked(storage: Storage, output: str, part: Part) -> bytes:
    """A staged file's bytes, proved to be those that were added."""
    try:
        body = storage.read(join(output, part.path))
    except NotFoundError:
        body = b""
    if hashlib.sha256(body).hexdigest() != part.sha256:
        state = "has been changed" if body else "is gone"
        raise OutputInconsistentError(
            f"the staged file {part.path} {state}, and its {part.rows} rows are not published yet",
            "Something else touched the output's _ocrbatch/staging/; restore that file from a backup.",
        )
    return body
