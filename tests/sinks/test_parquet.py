"""Staged files: keys are read off the rows, and the footer says it all again."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sinks_model import OUT, MemoryStorage, Tapped, failures_table, pages_table

from ocrbatch.errors import StorageError
from ocrbatch.sinks import parquet
from ocrbatch.sinks.log import FailedPage, HeldPages
from ocrbatch.storage import join


def table_of(storage: MemoryStorage, path: str) -> pa.Table:
    return pq.read_table(io.BytesIO(storage.read(join(OUT, path))))


def test_a_staged_part_knows_its_rows() -> None:
    storage = MemoryStorage()
    rows = pa.concat_tables(
        [pages_table([("b", 1, 2), ("a", 0, 1), ("b", 0, 2)]), pages_table([("c", 0, 1)], fingerprint="f0")]
    )
    part = parquet.stage(storage, OUT, 7, rows, "pages", partition="dt=1")  # type: ignore[arg-type]
    assert part.pages == (HeldPages("a", "e", 1, (0,)), HeldPages("b", "e", 2, (0, 1)), HeldPages("c", "e", 1, (0,)))
    assert (part.rows, part.partition, part.fingerprints) == (4, "dt=1", ("f0", "f1"))
    assert part.path.startswith("_ocrbatch/staging/000000000007/")
    assert part.bytes == len(storage.read(join(OUT, part.path)))
    assert table_of(storage, part.path)["uri"].to_pylist() == ["a", "b", "b", "c"]
    assert parquet.find(storage, OUT, part.path) == part  # type: ignore[arg-type]


def test_failures_with_and_without_a_page() -> None:
    storage = MemoryStorage()
    rows = failures_table([("b", 1, 2), ("a", None, 1)])
    part = parquet.stage(storage, OUT, 7, rows, "failures", page_counts={("b", "e"): 5})  # type: ignore[arg-type]
    assert part.failures == (
        FailedPage("a", "e", None, None, "DETECT_FAILED", "detect", True, 1),
        FailedPage("b", "e", 1, 5, "DETECT_FAILED", "detect", True, 2),
    )
    assert parquet.find(storage, OUT, part.path) == part  # type: ignore[arg-type]


def test_of_rows_with_one_key_the_first_is_kept() -> None:
    storage = MemoryStorage()
    twice = pages_table([("a", 0, 1), ("b", 0, 1), ("a", 0, 1)])
    twice = twice.set_column(
        twice.schema.get_field_index("text"), twice.schema.field("text"), pa.array(["1", "2", "3"])
    )
    part = parquet.stage(storage, OUT, 7, twice, "pages")  # type: ignore[arg-type]
    assert part.rows == 2
    assert table_of(storage, part.path)["text"].to_pylist() == ["1", "2"]


@pytest.mark.parametrize(
    "named", [{"kind": "pages", "table": pages_table([])}, {"kind": "failures", "partition": "dt=1"}]
)
def test_what_can_not_be_staged(named: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"nothing|partitioned"):
        parquet.stage(MemoryStorage(), OUT, 7, **({"table": failures_table([("a", 0, 1)])} | named))  # type: ignore[arg-type]


def test_the_same_columns_are_the_same_schema_whatever_was_written_before() -> None:
    storage = MemoryStorage()
    one = parquet.stage(storage, OUT, 7, pages_table([("a", 0, 1)]), "pages")  # type: ignore[arg-type]
    other = parquet.stage(storage, OUT, 7, pages_table([("b", 0, 1)], full=True), "pages")  # type: ignore[arg-type]
    again = parquet.stage(storage, OUT, 7, table_of(storage, one.path), "pages")  # type: ignore[arg-type]
    assert one.schema == again.schema != other.schema


def test_files_that_are_not_whole_are_not_found_and_trouble_is_not_damage() -> None:
    storage = MemoryStorage()
    part = parquet.stage(storage, OUT, 7, pages_table([("a", 0, 1)]), "pages")  # type: ignore[arg-type]
    body = storage.read(join(OUT, part.path))
    foreign = io.BytesIO()
    pq.write_table(pages_table([("a", 0, 1)]), foreign)
    short = io.BytesIO()
    table = pq.read_table(io.BytesIO(body))
    pq.write_table(table.slice(0, 0), short)
    for damaged in (b"", body[:100], body[100:], body.replace(b"a 0", b"z 9"), foreign.getvalue(), short.getvalue()):
        storage.put(join(OUT, "x.parquet"), damaged)
        assert parquet.find(storage, OUT, "x.parquet") is None, len(damaged)  # type: ignore[arg-type]
    assert parquet.find(storage, OUT, "gone.parquet") is None  # type: ignore[arg-type]

    def trouble(name: str, call: object) -> object:
        raise StorageError("no answer")

    with pytest.raises(StorageError):
        parquet.find(Tapped(storage, trouble), OUT, part.path)  # type: ignore[arg-type]


def test_row_groups_of_a_merge_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    parts = [
        parquet.stage(storage, OUT, 7, pages_table([(f"u{i:02d}", 0, 1), (f"u{i:02d}", 1, 2)]), "pages")  # type: ignore[arg-type]
        for i in range(10)
    ]
    size = table_of(storage, parts[0].path).nbytes
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 4 * size)
    merged = parquet.merge(storage, OUT, 7, parts)  # type: ignore[arg-type]
    file = pq.ParquetFile(io.BytesIO(storage.read(join(OUT, merged.path))))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [8, 8, 4]
    assert merged.rows == 20
    assert file.read()["uri"].to_pylist() == sorted(file.read()["uri"].to_pylist())
