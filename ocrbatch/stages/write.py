"""Write: finished rows to one staged file for each kind and partition, which the driver then commits.

Nothing is kept between calls: a retried one writes other files under other names, and the ledger admits each page once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ocrbatch.config import JobConfig
from ocrbatch.errors import OcrBatchError
from ocrbatch.schema import FAILURES, PAGES, SCHEMA_VERSION, pages_schema
from ocrbatch.sinks.layout import Kind, hive_partition
from ocrbatch.sinks.log import Part, part_from_json, part_to_json
from ocrbatch.sinks.parquet import stage
from ocrbatch.sources.selection import is_tried_again
from ocrbatch.stages.base import FAILURE, IGNORED, PAGE, STOP
from ocrbatch.stages.batches import spans_of, unpacked
from ocrbatch.stages.spans import Span, Stopwatch
from ocrbatch.storage import Storage

RESULT: Final = pa.schema([("result", pa.string())])


@dataclass(frozen=True, slots=True)
class Written:
    """What one write task did: the parts it staged, the files that are no documents, and counts for people.

    spans: of its batches, where their time went, stage by stage.
    """

    parts: tuple[Part, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    pages: int = 0
    lines: int = 0
    blank: int = 0
    failures: tuple[dict[str, Any], ...] = ()
    spans: tuple[Span, ...] = ()
    stop: tuple[str, str, int] | None = None
    """Why the run can't go on, what to do, and the exit code."""

    def encode(self) -> pa.Table:
        """As the one row of RESULT that travels to the driver."""
        tree = {
            "parts": [part_to_json(part) for part in self.parts],
            "ignored": self.ignored,
            "pages": self.pages,
            "lines": self.lines,
            "blank": self.blank,
            "failures": self.failures,
            "spans": [span.to_json() for span in self.spans],
            "stop": self.stop,
        }
        return pa.table([[json.dumps(tree)]], schema=RESULT)

    @classmethod
    def decode(cls, table: pa.Table) -> Iterator[Written]:
        """The inverse of `encode`, for every row of a table."""
        for text in table["result"].to_pylist():
            tree = json.loads(text)
            yield cls(
                tuple(part_from_json(part) for part in tree["parts"]),
                tuple((uri, etag) for uri, etag in tree["ignored"]),
                tree["pages"],
                tree["lines"],
                tree["blank"],
                tuple(tree["failures"]),
                tuple(map(Span.from_json, tree["spans"])),
                tuple(tree["stop"]) if tree["stop"] else None,
            )


@dataclass(frozen=True, slots=True)
class Imprint:
    """What a run's rows and files say of it. models: official names of the weights that were used."""

    epoch: int
    run_id: str
    fingerprint: str
    models: tuple[str, ...]
    run_date: date


class WriteStage:
    """One write worker of a run."""

    def __init__(self, config: JobConfig, imprint: Imprint) -> None:
        self._config = config
        self._imprint = imprint
        self._storage = Storage(config.output.storage)
        self._stopwatch = Stopwatch("write")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Stages a packed batch of finished rows and says so."""
        self._stopwatch.start()
        rows, before = unpacked(batch), spans_of(batch)
        written = self.rows(rows)
        return replace(written, spans=(*before, self._stopwatch.stop(before, len(rows)))).encode()

    def rows(self, table: pa.Table) -> Written:
        """Stages finished rows and says so, or why the run can't go on."""
        try:
            return self.written(table)
        except OcrBatchError as error:
            return Written(stop=(str(error), error.remedy, error.exit_code))

    def written(self, table: pa.Table) -> Written:
        """Stages finished rows and says so; raises what the storage does."""
        outcome = table["outcome"]
        stops = table.filter(pc.equal(outcome, STOP))
        pages = table.filter(pc.equal(outcome, PAGE))
        failed = table.filter(pc.equal(outcome, FAILURE))
        ignored = table.filter(pc.equal(outcome, IGNORED))
        parts = [self._stage(self._page_rows(rows), "pages", partition) for partition, rows in self._partitioned(pages)]
        if failed.num_rows:
            parts.append(self._stage(self._failure_rows(failed), "failures", "", _page_counts(failed)))
        lines = pc.list_value_length(pages["texts"]).to_pylist() if pages.num_rows else []
        return Written(
            tuple(parts),
            tuple(zip(ignored["uri"].to_pylist(), ignored["etag"].to_pylist(), strict=True)),
            pages.num_rows,
            sum(lines),
            lines.count(0),
            tuple(_examples(failed, self._config.pipeline.attempts)),
            stop=_reason(stops["failure"][0].as_py()) if stops.num_rows else None,
        )

    def _stage(
        self,
        rows: pa.Table,
        kind: Kind,
        partition: str,
        page_counts: dict[tuple[str, str], int] | None = None,
    ) -> Part:
        output = self._config.output
        return stage(
            self._storage,
            output.uri,
            self._imprint.epoch,
            rows,
            kind,
            partition=partition,
            page_counts=page_counts,
            level=output.compression_level,
        )

    def _partitioned(self, pages: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        if not pages.num_rows:
            return
        names = [
            partition(uri, self._config.output.partition_by, self._imprint.run_date) for uri in pages["uri"].to_pylist()
        ]
        for name in dict.fromkeys(names):
            yield name, pages.filter(pa.array([other == name for other in names]))

    def _page_rows(self, rows: pa.Table) -> pa.Table:
        extra = list(rows.schema.field("extra").type) if "extra" in rows.column_names else []
        constant = {
            "status": "ok",
            "fingerprint": self._imprint.fingerprint,
            "models": list(self._imprint.models),
            "schema_version": SCHEMA_VERSION,
            "run_id": self._imprint.run_id,
        }
        columns = []
        for field in PAGES:
            if field.name in constant:
                column: Any = pa.array([constant[field.name]] * rows.num_rows, field.type)
            elif field.name == "document_mtime":
                column = rows["mtime"]
            elif field.name in rows.column_names:
                column = rows[field.name].cast(field.type)
            else:
                column = pa.nulls(rows.num_rows, field.type)
            columns.append(column)
        columns += [pc.struct_field(rows["extra"], field.name) for field in extra]
        return pa.table(columns, schema=pages_schema(extra))

    def _failure_rows(self, rows: pa.Table) -> pa.Table:
        constant = {"run_id": self._imprint.run_id, "fingerprint": self._imprint.fingerprint}
        columns = []
        for field in FAILURES:
            if field.name in constant:
                column: Any = pa.array([constant[field.name]] * rows.num_rows, field.type)
            elif field.name in rows.column_names:
                column = rows[field.name].cast(field.type)
            else:
                column = pc.struct_field(rows["failure"], field.name)
            columns.append(column)
        return pa.table(columns, schema=FAILURES)


def partition(uri: str, rule: str | None, run_date: date) -> str:
    """The hive partition of a document's rows: '' where none is asked for.

    rule: `run_date`, or a regular expression whose named groups are searched in the URI; a group that isn't found is
    Hive's null.
    """
    if rule is None:
        return ""
    if rule == "run_date":
        return hive_partition({"run_date": run_date.isoformat()})
    pattern = re.compile(rule)
    found = pattern.search(uri)
    return hive_partition({name: found[name] if found else None for name in pattern.groupindex})


def _page_counts(failed: pa.Table) -> dict[tuple[str, str], int]:
    columns = (failed[name].to_pylist() for name in ("uri", "etag", "page_count"))
    return {(uri, etag): count for uri, etag, count in zip(*columns, strict=True) if count is not None}


def _examples(failed: pa.Table, attempts: int) -> Iterator[dict[str, Any]]:
    """The failures as the summary shows them. again: the same command tries it once more."""
    columns = (failed[name].to_pylist() for name in ("uri", "page_index", "attempt", "failure"))
    for uri, index, attempt, failure in zip(*columns, strict=True):
        again = is_tried_again(failure["retryable"], attempt, attempts)
        yield {"uri": uri, "page_index": index, "attempt": attempt, **failure, "again": again}


def _reason(failure: dict[str, Any]) -> tuple[str, str, int]:
    return failure["message"], failure["remedy"], int(failure["code"])
