"""Parquet files that hold other files' bytes, one a row, as archives.

Invariant: a row's name doesn't depend on which rows are read: a text column that names every row differently, else the
row's number. The other columns are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.errors import DocumentError
from ocrbatch.sources.members import Member, printable
from ocrbatch.storage.ranges import BLOCK_BYTES

_NAME_COLUMNS: Final = ("path", "name", "filename", "file_name", "uri", "url", "id")


class ParquetRows:
    """Rows are read in order, 16 at a time, so that a run through the file reads it once and holds little of it."""

    def __init__(self, file: io.BufferedReader, bytes_column: str | None) -> None:
        self._file = file
        # A buffer streams the column chunks; without one, a whole chunk (often 100 rows of 1 MB) is held.
        self._parquet = pq.ParquetFile(file, buffer_size=BLOCK_BYTES, pre_buffer=False)
        self._bytes_column = bytes_column
        self._at: tuple[str, int, list[Any]] = ("", 0, [])  # column, number of the first row of the batch, its values
        self._batches: Iterator[list[Any]] = iter(())

    def members(self) -> list[Member]:
        """The rows in order, sizes unknown. Raises DocumentError ARCHIVE_BROKEN where no column holds the bytes."""
        column = self._column()
        leaf = self._leaf(column)
        names = self._names(column)
        return [Member(name, f"{leaf}.{row}", None) for row, name in enumerate(names)]

    def open(self, place: str) -> IO[bytes]:
        """The bytes of the row; a null is an empty file."""
        leaf, _, row = place.partition(".")
        value = self._value(self._parquet.metadata.schema.column(int(leaf)).path, int(row))
        return io.BytesIO(value or b"")

    def close(self) -> None:
        """Lets go of the file."""
        self._batches = iter(())
        self._parquet.close()
        self._file.close()

    def _column(self) -> str:
        """Dotted path of the column that holds the bytes."""
        schema = self._parquet.schema_arrow
        plain = [f.name for f in schema if _is_bytes(f.type)]
        nested = [f"{f.name}.bytes" for f in schema if _bytes_child(f.type)]
        if (wanted := self._bytes_column) is not None:
            found = [c for c in (wanted, f"{wanted}.bytes") if c in (*plain, *nested)]
        else:
            found = plain or nested
        if len(found) == 1 or (wanted and found):
            return found[0]
        columns = ", ".join(f"{f.name} ({f.type})" for f in schema)[:300]
        what = (
            f"no column {wanted!r} of bytes"
            if wanted is not None
            else (f"several columns of bytes ({', '.join(found)})" if found else "no column of bytes")
        )
        raise DocumentError(
            "ARCHIVE_BROKEN",
            f"the Parquet file has {what}; its columns: {columns}",
            "Name the column that holds the files by input.bytes_column, or exclude the file.",
        )

    def _leaf(self, column: str) -> int:
        schema = self._parquet.metadata.schema
        return next(i for i in range(self._parquet.metadata.num_columns) if schema.column(i).path == column)

    def _names(self, column: str) -> list[str]:
        rows = self._parquet.metadata.num_rows
        schema = self._parquet.schema_arrow
        candidates = [c for c in _NAME_COLUMNS if c in schema.names and _is_text(schema.field(c).type)]
        if column.endswith(".bytes") and column not in schema.names:
            parent = schema.field(column.removesuffix(".bytes")).type
            if any(f.name == "path" and _is_text(f.type) for f in parent.fields):
                candidates.insert(0, column.removesuffix("bytes") + "path")
        for candidate in candidates:
            names = [n for batch in self._read(candidate, 65536) for n in batch]
            if all(names) and len(set(names)) == rows:
                return [printable(n) for n in names]
        return [f"row-{row:08d}" for row in range(rows)]

    def _value(self, column: str, row: int) -> bytes | None:
        at, start, values = self._at
        if at != column or row < start:
            group, start = self._group_of(row)
            self._batches = self._read(column, 16, list(range(group, self._parquet.num_row_groups)))
            values = []
        self._at = ("", 0, [])  # so that an error on the way leaves no wrong position behind
        while row >= start + len(values):
            start += len(values)
            values = next(self._batches, [])
            if not values:
                raise ValueError(f"the file has no row {row}")
        self._at = (column, start, values)
        return cast("bytes | None", values[row - start])

    def _group_of(self, row: int) -> tuple[int, int]:
        """The row group that holds a row, and the number of its first row."""
        start = 0
        for group in range(self._parquet.num_row_groups):
            rows = self._parquet.metadata.row_group(group).num_rows
            if row < start + rows:
                return group, start
            start += rows
        raise ValueError(f"the file has no row {row}")

    def _read(self, column: str, rows: int, groups: list[int] | None = None) -> Iterator[list[Any]]:
        """The values of one column, batch by batch; dots lead into structs."""
        batches = self._parquet.iter_batches(rows, row_groups=groups, columns=[column], use_threads=False)
        for batch in batches:
            values = batch.column(0)
            while pa.types.is_struct(values.type):
                values = values.flatten()[0]
            yield values.to_pylist()


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _bytes_child(kind: pa.DataType) -> bool:
    """Whether it is a struct {bytes, ...}, as Hugging Face stores images."""
    return bool(pa.types.is_struct(kind)) and any(f.name == "bytes" and _is_bytes(f.type) for f in kind.fields)
