"""Where the time of a run went, from the spans of its batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.report.where import Where
from ocrbatch.stages.spans import Span

TIMES = st.tuples(*[st.integers(0, 50)] * 3)
SPANS = st.lists(
    st.builds(
        lambda stage, worker, times, useful, more: Span(
            stage, worker, 100, 100 + times[0], 100 + times[1], 100 + times[1] + times[2], 2, useful, useful + more
        ),
        st.sampled_from(["decode", "read", "write"]),
        st.sampled_from("ab"),
        TIMES,
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    max_size=20,
)


@given(SPANS, st.randoms())
def test_sums_do_not_depend_on_the_order(spans, random):
    there, back = Where(), Where()
    there.add(spans)
    random.shuffle(spans)
    for span in spans:
        back.add([span])
    assert there == back


@given(SPANS)
def test_the_three_add_up_to_the_time_since_the_batch_before(spans):
    where = Where()
    where.add(spans)
    for name, stage in where.stages.items():
        whole = sum(span.end - span.since for span in spans if span.stage == name)
        assert stage.busy + stage.starved + stage.held_up == whole


def test_stages_come_in_the_order_in_which_a_page_meets_them():
    where = Where()
    where.add(Span(stage, "w", 0, 0, 0, 1, 1) for stage in ("write", "read", "decode"))
    assert list(where.to_json()) == ["decode", "read", "write"]


def test_models_begin_with_their_first_batch():
    where = Where()
    where.add(
        [Span("decode", "w", 1, 1, 1, 2, 1), Span("read", "v", 9, 2, 9, 12, 1), Span("read", "u", 8, 2, 8, 20, 1)]
    )
    assert where.began == 8
    assert where.to_json()["read"]["workers"] == 2


def test_padding_is_that_of_all_batches():
    where = Where()
    where.add([Span("read", "w", 0, 0, 0, 1, 1, useful=60, total=100), Span("read", "w", 0, 0, 0, 1, 1, 30, 100)])
    assert round(where.fill.padding_ratio, 3) == 0.55
