"""The guard and the row contract that every stage keeps."""

from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.config import JobConfig, load
from ocrbatch.errors import DocumentError, StorageError, UsageError
from ocrbatch.stages import base
from ocrbatch.stages.base import FAILURE, PAGE, ROW, STOP, PageStage, binary_column, bytes_at, guarded
from ocrbatch.stages.batches import packed, spans_of, unpacked
from ocrbatch.stages.spans import Span


@given(st.lists(st.booleans(), max_size=40))
def test_guard_finds_exactly_the_items_at_fault(poison):
    def work(items):
        if any(poison[i] for i in items):
            raise ValueError("poison")
        return [i * 10 for i in items]

    results = guarded(range(len(poison)), work, "DETECT_FAILED")
    assert len(results) == len(poison)
    for i, (bad, result) in enumerate(zip(poison, results, strict=True)):
        if bad:
            assert isinstance(result, DocumentError)
            assert result.code.code == "DETECT_FAILED"
        else:
            assert result == i * 10


def test_guard_lets_a_wrong_setup_end_the_run():
    def work(items):
        raise UsageError("no weights")

    with pytest.raises(UsageError):
        guarded([1, 2], work, "DETECT_FAILED")


def test_guard_refuses_work_that_loses_items():
    with pytest.raises(RuntimeError, match="2 items gave 1 results"):
        guarded([1, 2], lambda items: [1], "DETECT_FAILED")


@given(st.lists(st.none() | st.binary(max_size=50), max_size=10))
def test_binary_column_keeps_bytes_and_nulls(blobs):
    column = binary_column([None if b is None else np.frombuffer(b, np.uint8) for b in blobs])
    assert column.to_pylist() == blobs


def test_binary_column_does_not_copy_one_image():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    column = binary_column([image])
    assert bytes_at(pa.chunked_array([column]), 0).ctypes.data == image.ctypes.data


class Doubles(PageStage):
    name = "double"
    takes = ("number",)
    payload = pa.schema([("twice", pa.int64())])
    code = "RECOGNIZE_FAILED"

    def work(self, table, rows):
        numbers = [table["number"][row].as_py() for row in rows]
        if 13 in numbers:
            raise RuntimeError("thirteen")
        return [{"twice": number * 2} for number in numbers]


def rows(*numbers, failed=()):
    named = [{"uri": f"{n}.png", "outcome": FAILURE if n in failed else PAGE} for n in numbers]
    table = pa.Table.from_pylist(named, schema=ROW)
    return table.append_column("number", pa.array(numbers))


def test_a_page_that_fails_takes_no_neighbour_with_it():
    out = Doubles(JobConfig()).rows(rows(1, 13, 2))
    assert out["outcome"].to_pylist() == [PAGE, FAILURE, PAGE]
    assert out["twice"].to_pylist() == [2, None, 4]
    assert out["failure"][1].as_py()["code"] == "RECOGNIZE_FAILED"
    assert "thirteen" in out["failure"][1].as_py()["message"]
    assert out["failure"][1].as_py()["remedy"]


def test_a_batch_that_has_grown_is_worked_on_in_parts_each_with_its_own_clock(monkeypatch):
    calls, seconds = [], []

    class Counts(Doubles):
        def work(self, table, rows):
            calls.append(len(rows))
            return super().work(table, rows)

    monkeypatch.setattr(base, "watched", lambda bound: seconds.append(bound) or nullcontext())
    config = load("", ["pipeline.page_batch=4", "engine.timeout=10"])
    out = Counts(config).rows(rows(*range(10), failed=(3,)))
    assert out["twice"].to_pylist() == [0, 2, 4, None, 8, 10, 12, 14, 16, 18]
    assert (calls, seconds) == ([4, 4, 1], [40, 40, 10])


class Unprepared(Doubles):
    def work(self, table, rows):
        raise StorageError("the weights can't be read", "Check the bucket.")


def test_a_wrong_setup_stops_the_run_by_rows():
    out = Unprepared(JobConfig()).rows(rows(1, 2, 3, failed=(2,)))
    assert out["outcome"].to_pylist() == [STOP, FAILURE, STOP]
    reason = out["failure"][0].as_py()
    assert (reason["message"], reason["remedy"]) == ("the weights can't be read", "Check the bucket.")
    assert int(reason["code"]) == StorageError.exit_code


def test_a_batch_leaves_with_the_time_that_it_took():
    before = Span("decode", "w", 1, 1, 1, 2, 3)
    out = Doubles(JobConfig())(packed(rows(1, 2, 3), [before]))
    assert unpacked(out)["twice"].to_pylist() == [2, 4, 6]
    assert [(span.stage, span.pages) for span in spans_of(out)] == [("decode", 3), ("double", 3)]


def test_failures_pass_by_untouched():
    out = Doubles(JobConfig()).rows(rows(1, 13, failed=(13,)))
    assert out["outcome"].to_pylist() == [PAGE, FAILURE]
    assert "number" not in out.column_names


def test_a_stage_names_the_columns_it_lacks():
    with pytest.raises(RuntimeError, match="number"):
        Doubles(JobConfig()).rows(rows(1).drop_columns(["number"]))


def test_all_failed_rows_keep_the_schema():
    assert Doubles(JobConfig()).rows(rows(1, failed=(1,))).schema.field("twice").type == pa.int64()
