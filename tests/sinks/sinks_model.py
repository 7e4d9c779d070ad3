"""A storage in memory, small tables of rows, and a checker of outputs that uses none of the sinks' code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from row_examples import failure_row, page_row

from ocrbatch.config import OutputConfig
from ocrbatch.errors import NotFoundError, StorageError
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.sinks import parquet
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.log import Part
from ocrbatch.storage import Entry, Storage

OUT = "mem://out"
MUTATIONS = ("put", "put_if_absent", "copy_if_absent", "delete")

Page = tuple[str, int, int]  # uri, page_index, page_count
Failure = tuple[str, int | None, int]  # uri, page_index, attempt

# Two documents, one page of which fails for good; three batches, the last of which was in part done by the second.
BATCHES = [
    [("a", 0, 3), ("a", 1, 3)],
    [("a", 2, 3), ("b", 0, 3)],
    [("b", 0, 3), ("b", 1, 3)],
]
WANTED = [("a", "e", 0), ("a", "e", 1), ("a", "e", 2), ("b", "e", 0), ("b", "e", 1)]  # as `shown` gives it


class Killed(BaseException):
    """The process died here."""


class MemoryStorage:
    """What the sinks use of `Storage`, over a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def names_after(self, folder: str, name: str) -> list[str]:
        names = [entry.uri.rpartition("/")[2] for entry in self.list(folder)]
        return [other for other in names if other > name]

    def list(self, uri: str) -> Iterator[Entry]:
        found = [name for name in sorted(self.objects) if name.startswith(uri + "/")]
        return iter([Entry(name, len(self.objects[name]), datetime.now(UTC), "") for name in found])

    def stat(self, uri: str) -> Entry:
        return Entry(uri, len(self.read(uri)), datetime.now(UTC), "")

    def read(self, uri: str, start: int | None = None, end: int | None = None) -> bytes:
        if uri not in self.objects:
            raise NotFoundError(uri)
        return self.objects[uri][start:end]

    def exists(self, uri: str) -> bool:
        return uri in self.objects

    def put(self, uri: str, body: bytes) -> None:
        self.objects[uri] = body

    def put_if_absent(self, uri: str, body: bytes) -> bool:
        return self.objects.setdefault(uri, body) == body

    def copy_if_absent(self, source: str, uri: str) -> bool:
        return self.put_if_absent(uri, self.read(source))

    def delete(self, uri: str, missing_ok: bool = True) -> None:
        self.objects.pop(uri, None)

    def tidy(self, uri: str) -> None:
        pass

    def probe_exclusive_create(self, uri_prefix: str) -> None:
        pass


class Tapped:
    """Any storage, with `tap` called around each call: it performs the call, or raises instead, or afterwards."""

    def __init__(self, inner: MemoryStorage | Storage, tap: Callable[[str, Callable[[], object]], object]) -> None:
        self._inner = inner
        self._tap = tap

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._inner, name)
        return lambda *args, **named: self._tap(name, lambda: method(*args, **named))


def stop_at(k: int, *, applied: bool, error: Callable[[], BaseException] = Killed) -> Callable[..., object]:
    """A tap for which the process dies at its k-th mutating call, from 0, before or after it took effect."""
    count = -1

    def tap(name: str, call: Callable[[], object]) -> object:
        nonlocal count
        if name in MUTATIONS:
            count += 1
            if count == k and applied:
                call()
            if count == k:
                raise error()
            if count > k and error is Killed:
                raise Killed
        return call()

    return tap


def doubt() -> StorageError:
    return StorageError("no answer")


def committer(
    storage: object, output: str = OUT, *, shard: str = "main", run_id: str = "r1", target_bytes: int = 1 << 20
) -> Committer:
    """An open committer without a lease: the log alone has to keep writers apart."""
    made = Committer(storage, OutputConfig(uri=output), shard, run_id, None)  # type: ignore[arg-type]
    made.target_bytes = target_bytes
    made.start()
    return made


def pages_table(pages: list[Page], *, fingerprint: str = "f1", etag: str = "e", full: bool = False) -> pa.Table:
    """Rows of pages/; full: with every column of the schema, else only those that the sinks look at."""
    rows = [
        page_row(uri=uri, etag=etag, page_index=index, page_count=count, fingerprint=fingerprint)
        | {"text": f"{uri} {index}", "texts": [f"{uri} {index}"]}
        for uri, index, count in pages
    ]
    names = ["uri", "etag", "page_index", "page_count", "fingerprint", "text"]
    return pa.Table.from_pylist(rows, schema=PAGES if full else pa.schema([PAGES.field(name) for name in names]))


def failures_table(failures: list[Failure], *, code: str = "DETECT_FAILED", etag: str = "e") -> pa.Table:
    """Rows of failures/."""
    named = {"etag": etag, "code": code, "stage": "detect", "fingerprint": "f1"}
    rows = [failure_row(uri=uri, page_index=index, attempt=attempt, **named) for uri, index, attempt in failures]
    return pa.Table.from_pylist(rows, schema=FAILURES)


def stage(c: Committer, pages: list[Page], partition: str = "", **named: Any) -> Part:
    return parquet.stage(c._storage, c._output, c.epoch, pages_table(pages, **named), "pages", partition=partition)


def fail(c: Committer, failures: list[Failure]) -> Part:
    return parquet.stage(c._storage, c._output, c.epoch, failures_table(failures), "failures")


def job(c: Committer, *, full: bool = False) -> None:
    """What is missing of BATCHES is staged and committed, in small files; one page fails in every attempt."""
    for batch in BATCHES:
        if any(index not in c.ledger.pages_held(uri, "e")[1] for uri, index, _ in batch):
            parts = [stage(c, batch, full=full)]
            if batch is BATCHES[1] and 2 not in c.ledger.failures("b", "e"):
                parts.append(fail(c, [("b", 2, 1)]))
            c.add(parts, ignored=[("x.txt", "e")])
            if batch is BATCHES[1]:
                c.publish(force=True)
    if 2 not in c.ledger.failures("b", "e"):
        c.add([fail(c, [("b", 2, 1)])])
    c.close()


def shown(storage: MemoryStorage | Storage, output: str = OUT) -> list[tuple[str, str, int]]:
    """(uri, etag, page_index) of every row that a plain reader sees, sorted, repetitions included."""
    rows: list[tuple[str, str, int]] = []
    for entry in storage.list(f"{output}/pages"):
        table = pq.ParquetFile(io.BytesIO(storage.read(entry.uri))).read(["uri", "etag", "page_index"])
        rows += [(row["uri"], row["etag"], row["page_index"]) for row in table.to_pylist()]
    return sorted(rows)


def added(storage: MemoryStorage, output: str = OUT) -> list[tuple[str, str, int]]:
    """(uri, etag, page_index) of every page that the log's ADD records name, read with json alone."""
    found = []
    for name in sorted(storage.objects):
        if name.startswith(f"{output}/_ocrbatch/log/"):
            for part in json.loads(storage.objects[name]).get("parts", ()):
                found += [(d["uri"], d["etag"], index) for d in part["pages"] for index in d["pages"]]
    return sorted(found)
