"""A manifest's columns against those of an output."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from sinks_model import committer, pages_table

from ocrbatch.config import InputConfig
from ocrbatch.errors import OutputInconsistentError, UsageError
from ocrbatch.sinks.columns import check_columns
from ocrbatch.sinks.commit import Committer, read_ledger
from ocrbatch.sinks.parquet import stage
from ocrbatch.sources import manifest
from ocrbatch.storage import Storage


def add(c: Committer, output: str, uri: str, column: str, values: pa.Array) -> None:
    rows = pages_table([(uri, 0, 1)]).append_column(column, values)
    c.add([stage(Storage(), output, c.epoch, rows, "pages")])


def check(output: str, column: str, kind: pa.DataType) -> None:
    check_columns([pa.field(column, kind)], read_ledger(Storage(), output), Storage(), output)


def test_each_schema_of_the_output_is_compared(tmp_path: Path) -> None:
    output = str(tmp_path)
    c = committer(Storage(), output)
    check(output, "site", pa.string())
    add(c, output, "a", "site", pa.array([1]))
    c.publish(force=True)
    add(c, output, "b", "lot", pa.array(["x"]))
    c.publish(force=True)  # the newest part does not have the column
    add(c, output, "c", "shelf", pa.array(["x"]))  # staged only
    for column, kind, was in (
        ("site", pa.string(), "int64"),
        ("lot", pa.int64(), "string"),
        ("shelf", pa.int8(), "st"),
    ):
        with pytest.raises(UsageError, match=f"the manifest's column '{column}' is {kind}, but {was}"):
            check(output, column, kind)
    check(output, "site", pa.int64())
    check(output, "new", pa.int64())


def test_a_part_that_is_gone_or_no_parquet(tmp_path: Path) -> None:
    output = str(tmp_path)
    c = committer(Storage(), output)
    for uri in ("a", "b"):
        add(c, output, uri, "site", pa.array([1]))
        c.publish(force=True)
    first, second = sorted((tmp_path / "pages").iterdir())
    first.unlink()
    with pytest.raises(UsageError):
        check(output, "site", pa.string())
    second.write_bytes(b"something else")
    with pytest.raises(OutputInconsistentError, match="verify") as caught:
        check(output, "site", pa.string())
    assert "is no Parquet file" in str(caught.value)


def test_a_manifest_fits_what_was_written_from_it(tmp_path: Path) -> None:
    row = {"uri": "a.png", "when": "2026-01-01 00:00:00", "seen": [{"at": "2026-01-01"}], "none": None, "empty": {}}
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    extra = manifest.read(InputConfig(manifest=str(tmp_path / "list.jsonl")), Storage()).extra
    rows = pages_table([("a.png", 0, 1)])
    for column in extra:
        rows = rows.append_column(column, pa.nulls(1, column.type))
    output = str(tmp_path / "out")
    c = committer(Storage(), output)
    c.add([stage(Storage(), output, c.epoch, rows, "pages")])
    c.publish(force=True)
    check_columns(extra, read_ledger(Storage(), output), Storage(), output)
