"""Decode: documents of the run's manifest to pages, each a row with its pixels.

A worker keeps one sandboxed decoder process and streams: one batch is in its hands at a time, whatever the document's
length. The next documents are fetched while one is decoded.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import iter_pages, parse_pages
from ocrbatch.documents.passwords import candidates
from ocrbatch.documents.sandbox import Sandbox
from ocrbatch.errors import DocumentError, OcrBatchError
from ocrbatch.records import Page, Pixels
from ocrbatch.sources.fetching import LocalFile, fetch, require_same
from ocrbatch.sources.patterns import named_otherwise
from ocrbatch.sources.scratch import Scratch
from ocrbatch.sources.selection import Work, read_manifest
from ocrbatch.stages.base import FAILURE, IGNORED, PAGE, ROW, binary_column, carried, failure_row, stop_row
from ocrbatch.stages.batches import gathered, packed
from ocrbatch.stages.identity import check_decoders
from ocrbatch.stages.spans import Stopwatch
from ocrbatch.stages.watch import bounded
from ocrbatch.storage import Storage

PLACE: Final = pa.schema([("manifest", pa.string()), ("row_group", pa.int32())])
IMAGE: Final = pa.field("image", pa.large_binary())  # H * W * 3 bytes, RGB, rows from the top

FETCHES: Final = 4  # documents fetched ahead: hides an object store's latency, bounds the temporary files
NO_DOCUMENT: Final = ("FILE_UNKNOWN", "FILE_EMPTY")


class DecodeStage:
    """One decode worker: takes places in the run's manifest (`PLACE`), yields packed batches of `ROW` and `IMAGE`.

    page_batch: pages of a batch, at most.
    """

    def __init__(self, config: JobConfig, decoders: dict[str, str], page_batch: int) -> None:
        check_decoders(decoders)
        self._config = config
        self._page_batch = page_batch
        self._storage = Storage(config.input.storage)
        self._output = Storage(config.output.storage)
        self._manifest: tuple[str, pq.ParquetFile] | None = None
        self._sandbox = Sandbox(config.documents)
        self._pages = parse_pages(config.documents.pages)
        self._scratch = Scratch()
        self._fetchers = ThreadPoolExecutor(FETCHES, thread_name_prefix="fetch")
        self._stopwatch = Stopwatch("decode")
        bounded(config.pipeline.worker_memory_mb)

    def __call__(self, places: pa.Table) -> Iterator[pa.Table]:
        """Pages of the documents, in order."""
        self._stopwatch.start()
        for rows in gathered(self.rows(places), self._page_batch):
            yield packed(rows, [self._stopwatch.stop((), len(rows))])
            self._stopwatch.start()

    def rows(self, places: pa.Table) -> Iterator[pa.Table]:
        """A table for each page; where the set-up fails (a password's variable, say), a row that says so."""
        try:
            yield from self._pages_of(places)
        except OcrBatchError as error:
            yield stop_row(error).append_column(IMAGE, binary_column([None]))

    def _pages_of(self, places: pa.Table) -> Iterator[pa.Table]:
        for uri, group in zip(places["manifest"].to_pylist(), places["row_group"].to_pylist(), strict=True):
            yield from self._documents(self._row_group(uri, group))

    def _row_group(self, uri: str, group: int) -> pa.Table:
        if self._manifest is None or self._manifest[0] != uri:  # about 1 MB, and its groups come one after the other
            self._manifest = uri, pq.ParquetFile(pa.BufferReader(self._output.read(uri)))
        return self._manifest[1].read_row_group(group)

    def _documents(self, table: pa.Table) -> Iterator[pa.Table]:
        waiting: deque[tuple[int, Work, Future[LocalFile]]] = deque()
        for row, work in enumerate(read_manifest(table)):
            waiting.append((row, work, self._fetchers.submit(self._fetch, work)))
            if len(waiting) >= FETCHES:
                yield from self._document(table, *waiting.popleft())
        while waiting:
            yield from self._document(table, *waiting.popleft())

    def _fetch(self, work: Work) -> LocalFile:
        config = self._config
        return fetch(work.document, self._storage, self._scratch.path, config.documents, config.input.bytes_column)

    def _document(self, table: pa.Table, row: int, work: Work, fetching: Future[LocalFile]) -> Iterator[pa.Table]:
        source = table.slice(row, 1).select(carried(table))
        try:
            file = fetching.result()
        except DocumentError as error:
            yield _failed(source, None, None, error)
            return
        met: set[int] = set(work.done)
        count: int | None = None
        try:
            for outcome in iter_pages(
                self._sandbox,
                file.path,
                selection=self._pages,
                passwords=candidates(self._config.documents.passwords, work.document.uri),
                skip=frozenset(work.done),
            ):
                require_same(work.document, file, self._storage)  # what was decoded may be another version's
                count = outcome.page_count
                if outcome.page_index is not None:
                    met.add(outcome.page_index)
                if isinstance(outcome, Page):
                    yield _page(source, outcome)
                elif outcome.error.code.code in NO_DOCUMENT and named_otherwise(work.document.uri):
                    yield _row(source, outcome=IGNORED)
                else:
                    yield _failed(source, outcome.page_index, outcome.page_count, outcome.error)
        except DocumentError as error:
            # Some pages are out already, and a failure of the whole document would be of those, too.
            left = [None] if count is None else [index for index in self._pages.expected(count) if index not in met]
            for index in left:
                yield _failed(source, index, count, error)
        finally:
            file.discard()


def page_sha256(image: Pixels) -> str:
    """SHA-256 of a page's size and pixels: equal for equal pictures, whatever file they came from."""
    digest = hashlib.sha256(b"%d %d\n" % image.shape[:2])
    digest.update(image.data)
    return digest.hexdigest()


def _page(source: pa.Table, page: Page) -> pa.Table:
    height, width = page.image.shape[:2]
    return _row(
        source,
        image=page.image,
        outcome=PAGE,
        page_index=page.page_index,
        page_count=page.page_count,
        width=width,
        height=height,
        dpi=page.dpi,
        page_sha256=page_sha256(page.image),
    )


def _failed(source: pa.Table, index: int | None, count: int | None, error: DocumentError) -> pa.Table:
    return _row(source, outcome=FAILURE, page_index=index, page_count=count, failure=failure_row(error))


def _row(source: pa.Table, image: Pixels | None = None, **values: Any) -> pa.Table:
    """One row: what the document carries, these values, and the pixels without a copy."""
    given = [name for name in ROW.names if name not in source.column_names]
    row = pa.table([pa.array([values.get(name)], ROW.field(name).type) for name in given], names=given)
    for name in source.column_names:
        row = row.append_column(source.schema.field(name), source[name])
    return row.append_column(IMAGE, binary_column([image]))
