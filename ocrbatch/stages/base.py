"""What all stages share: the row that travels between them, and the guard that turns exceptions into failure rows.

Invariant: a stage gives one row for each row it takes (decoding: one a page), in order, whatever its work raises. This
is the only module that catches broadly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ocrbatch.config import JobConfig
from ocrbatch.errors import FAILURE_CODES, DocumentError, OcrBatchError
from ocrbatch.recognition.recognizer import Fill
from ocrbatch.schema import TIMESTAMP
from ocrbatch.stages.batches import packed, spans_of, unpacked
from ocrbatch.stages.spans import Stopwatch
from ocrbatch.stages.watch import bounded, watched

log = logging.getLogger(__name__)

PAGE: Final = "page"
FAILURE: Final = "failure"
IGNORED: Final = "ignored"
STOP: Final = "stop"
"""The run can't go on: storage or the set-up failed, not a page. The row travels to the driver, which ends the run.

An exception would not do: Ray can't tell it from a worker's crash, which the run survives.
"""

FAILURE_TYPE: Final = pa.struct(
    [
        ("code", pa.string()),
        ("stage", pa.string()),
        ("message", pa.string()),
        ("remedy", pa.string()),
        ("retryable", pa.bool_()),
    ]
)

# What every row between two stages carries; a manifest's pass-through columns ride along as the struct `extra`.
ROW: Final = pa.schema(
    [
        ("uri", pa.string()),
        ("etag", pa.string()),
        ("mtime", TIMESTAMP),
        ("attempt", pa.int32()),
        ("page_index", pa.int32()),  # null: the whole document
        ("page_count", pa.int32()),  # null: unknown
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("dpi", pa.float32()),
        ("page_sha256", pa.string()),
        ("outcome", pa.string()),  # page | failure | ignored | stop
        ("failure", FAILURE_TYPE),
    ]
)

MAX_MESSAGE: Final = 500  # characters of an exception that go into a row

Item = TypeVar("Item")
Result = TypeVar("Result")


def failure_row(error: DocumentError) -> dict[str, Any]:
    """A DocumentError as a value of FAILURE_TYPE."""
    code = error.code
    return {
        "code": code.code,
        "stage": code.stage,
        "message": str(error)[:MAX_MESSAGE],
        "remedy": error.remedy,
        "retryable": code.retryable,
    }


def stop_reason(error: OcrBatchError) -> dict[str, Any]:
    """Why the run can't go on, as a value of FAILURE_TYPE. Its code is the exit code."""
    message = str(error)[:MAX_MESSAGE]
    return {"code": str(error.exit_code), "stage": "", "message": message, "remedy": error.remedy, "retryable": True}


def guarded(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]], code: str
) -> list[Result | DocumentError]:
    """Runs `work` over a batch; where it raises, halves the batch until the items at fault stand alone.

    Sound because results don't depend on the batch. Errors that aren't an item's own (a config, a model) are raised.
    """
    if not items:
        return []
    try:
        results = list(work(items))
    except DocumentError as error:
        if len(items) == 1:
            return [error]
    except OcrBatchError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a model or a library raises is one page's failure
        if len(items) == 1:
            log.warning("%s: %s: %s", code, type(error).__name__, error)
            return [DocumentError(code, f"{FAILURE_CODES[code].cause} ({type(error).__name__}: {error})")]
    else:
        if len(results) != len(items):
            raise RuntimeError(f"{code}: {len(items)} items gave {len(results)} results")
        return list(results)
    half = len(items) // 2
    return guarded(items[:half], work, code) + guarded(items[half:], work, code)


def binary_column(blobs: Iterable[NDArray[np.uint8] | None]) -> pa.Array:
    """uint8 arrays of any shape as one large_binary column; a single array is not copied."""
    flat = [None if b is None else np.ascontiguousarray(b).reshape(-1) for b in blobs]
    sizes = [0 if f is None else f.size for f in flat]
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    filled = [f for f in flat if f is not None and f.size]
    data = filled[0] if len(filled) == 1 else np.concatenate(filled) if filled else np.empty(0, np.uint8)
    present = pa.array([f is not None for f in flat], pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(pa.large_binary(), len(flat), [present, pa.py_buffer(offsets), pa.py_buffer(data)])


def bytes_at(column: pa.ChunkedArray, row: int) -> NDArray[np.uint8]:
    """The blob of one row of a large_binary column as a read-only view. (Arrow's own scalar would copy it.)"""
    for chunk in column.chunks:
        if row < len(chunk):
            break
        row -= len(chunk)
    _, offsets, data = chunk.buffers()
    start, end = np.frombuffer(offsets, np.int64)[chunk.offset + row : chunk.offset + row + 2]
    return np.frombuffer(data or b"", np.uint8, count=end - start, offset=start)


class PageStage:
    """Base of the stages that take pages and give, for each, values for the columns of `payload`.

    A subclass sets `name`, `takes`, `payload` and `code` and writes `work`. Rows that are failures already pass by
    untouched.
    """

    name: str
    """What the run's report calls it."""
    takes: tuple[str, ...] = ()
    """Columns of the stage before, read by `work` and left out of what this stage gives."""
    payload: pa.Schema
    code: str
    """The failure code of a page whose `work` raises."""

    def __init__(self, config: JobConfig) -> None:
        self.page_seconds = config.engine.timeout
        self._stopwatch = Stopwatch(self.name)
        self.page_batch = config.pipeline.page_batch
        bounded(config.pipeline.worker_memory_mb)

    def work(self, table: pa.Table, rows: Sequence[int]) -> Sequence[dict[str, Any] | DocumentError]:
        """Values of `payload` for these rows of the table, or what is wrong with a page."""
        raise NotImplementedError

    @property
    def fill(self) -> Fill:
        """How well the recognition model's batches were filled so far; nothing where a stage has none."""
        return Fill()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One packed batch in, one out."""
        self._stopwatch.start()
        before, fill = spans_of(batch), self.fill
        done = self.rows(unpacked(batch))
        return packed(done, [*before, self._stopwatch.stop(before, len(done), self.fill - fill)])

    def rows(self, table: pa.Table) -> pa.Table:
        """As many rows as are given."""
        missing = {*ROW.names, *self.takes} - set(table.column_names)
        if missing:
            raise RuntimeError(f"{type(self).__name__} was given rows without {sorted(missing)}")
        outcomes, failures = table["outcome"].to_pylist(), table["failure"].to_pylist()
        rows = [i for i, outcome in enumerate(outcomes) if outcome == PAGE]
        results: list[dict[str, Any] | DocumentError] = []
        try:
            for start in range(0, len(rows), self.page_batch):  # a batch that has grown is worked on in parts
                some = rows[start : start + self.page_batch]
                with watched(self.page_seconds * len(some)):
                    results += guarded(some, lambda few: self.work(table, few), self.code)
        except OcrBatchError as error:
            for row in rows:
                outcomes[row], failures[row] = STOP, stop_reason(error)
            results, rows = [], []
        values: list[dict[str, Any]] = [{} for _ in outcomes]
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, DocumentError):
                outcomes[row], failures[row] = FAILURE, failure_row(result)
            else:
                values[row] = result
        kept = table.drop_columns(list(self.takes))
        kept = kept.set_column(kept.schema.get_field_index("outcome"), ROW.field("outcome"), [outcomes])
        kept = kept.set_column(
            kept.schema.get_field_index("failure"), ROW.field("failure"), pa.array(failures, FAILURE_TYPE)
        )
        for field in self.payload:
            column = [value.get(field.name) for value in values]
            kept = kept.append_column(
                field, binary_column(column) if pa.types.is_large_binary(field.type) else pa.array(column, field.type)
            )
        return kept


def carried(table: pa.Table) -> list[str]:
    """Names of the manifest's columns that go along with every page."""
    return [name for name in ("uri", "etag", "mtime", "attempt", "extra") if name in table.column_names]
