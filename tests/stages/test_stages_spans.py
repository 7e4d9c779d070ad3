"""Spans: where the time of a batch went, told by each worker that had it in its hands."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from ocrbatch.recognition.recognizer import Fill
from ocrbatch.stages.batches import packed, spans_of
from ocrbatch.stages.spans import Span, Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(time, "time", lambda: now[0])

    def at(seconds: float) -> None:
        now[0] = seconds

    return at


def timed(clock, watch: Stopwatch, start: float, end: float, before: list[Span] | None = None) -> Span:
    clock(start)
    watch.start()
    clock(end)
    return watch.stop(before or [], 4)


def done(end: float) -> Span:
    return Span("decode", "w", end - 1, end - 1, end - 1, end, 4)


def test_a_wait_is_starved_until_the_batch_was_there_and_held_up_from_then_on(clock):
    watch = Stopwatch("read")
    first = timed(clock, watch, 100, 103, [done(50)])
    assert (first.busy, first.starved, first.held_up) == (3, 0, 0), "before its first batch a worker loads its model"
    second = timed(clock, watch, 110, 112, [done(107)])
    assert (second.busy, second.starved, second.held_up) == (2, 4, 3)
    ready_long_ago = timed(clock, watch, 115, 116, [done(104)])
    assert (ready_long_ago.starved, ready_long_ago.held_up) == (0, 3)


def test_of_several_batches_the_last_is_waited_for(clock):
    watch = Stopwatch("write")
    timed(clock, watch, 100, 101, [done(100)])
    assert timed(clock, watch, 106, 107, [done(102), done(105)]).starved == 4


def test_the_first_stage_is_never_starved(clock):
    watch = Stopwatch("decode")
    timed(clock, watch, 100, 101)
    span = timed(clock, watch, 105, 106)
    assert (span.starved, span.held_up) == (0, 4)


def test_clocks_that_disagree_or_are_set_back_give_no_negative_times(clock):
    watch = Stopwatch("read")
    timed(clock, watch, 100, 101, [done(100)])
    ahead = timed(clock, watch, 103, 104, [done(500)])
    assert (ahead.starved, ahead.held_up) == (2, 0)
    back = timed(clock, watch, 90, 80, [done(104)])
    assert (back.busy, back.starved, back.held_up) == (0, 0, 0)


def test_spans_travel_with_their_batch():
    spans = [done(3), Span("read", "v", 1, 2, 3, 4, 5, useful=10, total=12)]
    batches = pa.concat_tables([packed(pa.table({"number": [1, 2]}), spans), packed(pa.table({"number": [3]}))])
    assert spans_of(batches) == spans
    assert spans_of(batches.slice(1)) == []


def test_a_span_says_how_full_the_batches_were(clock):
    watch = Stopwatch("read")
    watch.start()
    span = watch.stop([], 1, Fill(7, 9))
    assert (span.useful, span.total) == (7, 9)
    assert Span.from_json(span.to_json()) == span
