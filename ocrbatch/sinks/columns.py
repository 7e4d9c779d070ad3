"""Whether the rows of a run can stand in one table with those that an output has."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.errors import NotFoundError, OutputInconsistentError, UsageError
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.storage import Storage, join
from ocrbatch.storage.ranges import BLOCK_BYTES, RangeFile


def check_columns(extra: Iterable[pa.Field], ledger: Ledger, storage: Storage, output: str) -> None:
    """Raises UsageError where a manifest's column has another type than in the output so far.

    Readers could not open both as one table. One part of each schema is looked at, those that wait to be published
    included. Raises StorageError, OutputInconsistentError where a part is no Parquet file.
    """
    added = {column.name: column.type for column in extra}
    for before in _schemas(ledger, storage, output) if added else ():
        for name in added.keys() & set(before.names):
            if before.field(name).type != added[name]:
                raise UsageError(
                    f"the manifest's column {name!r} is {added[name]}, but {before.field(name).type} in the output so "
                    "far",
                    "Cast it in the manifest, rename it, or write to another output.",
                )


def _schemas(ledger: Ledger, storage: Storage, output: str) -> Iterator[pa.Schema]:
    parts: dict[str, list[str]] = {}
    for path, published in ledger.published.items():
        if published.kind == "pages":
            parts.setdefault(published.schema, []).append(path)
    for staged in ledger.staged.values():
        for path, part in staged.items():
            if part.kind == "pages":
                parts.setdefault(part.schema, []).append(path)
    for paths in parts.values():
        for path in paths:
            with suppress(NotFoundError):  # not shown yet, or shown meanwhile; another of that schema does as well
                yield _schema(storage, join(output, path))
                break


def _schema(storage: Storage, uri: str) -> pa.Schema:
    with io.BufferedReader(RangeFile(storage, uri, storage.stat(uri).size or 0), BLOCK_BYTES) as file:
        try:
            return pq.read_schema(file)
        except pa.ArrowException as error:
            raise OutputInconsistentError(
                f"{uri} is no Parquet file: {error}", "`ocrbatch verify` says what else has been changed."
            ) from error
