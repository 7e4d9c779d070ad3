"""What is left to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.documents.pages import parse_pages
from ocrbatch.records import Document
from ocrbatch.schema import MANIFEST
from ocrbatch.sinks.ledger import FailureState, Ledger
from ocrbatch.sources.selection import (
    Decision,
    Tally,
    Work,
    decide,
    manifest_batches,
    manifest_schema,
    passing,
    read_manifest,
    select,
)


class Failed(NamedTuple):
    attempt: int
    retryable: bool
    code: str = "DETECT_FAILED"


@dataclass
class Held:
    """A ledger of one document version each, keyed as the real one is."""

    pages: dict[tuple[str, str], tuple[int | None, set[int]]] = field(default_factory=dict)
    failed: dict[tuple[str, str], dict[int | None, Failed]] = field(default_factory=dict)
    other: set[tuple[str, str]] = field(default_factory=set)
    past: set[tuple[str, str]] = field(default_factory=set)
    reopened: dict[tuple[str, str], int] = field(default_factory=dict)

    def pages_held(self, uri: str, etag: str) -> tuple[int | None, Collection[int]]:
        return self.pages.get((uri, etag), (None, set()))

    def failures(self, uri: str, etag: str) -> Mapping[int | None, Failed]:
        return self.failed.get((uri, etag), {})

    def is_past(self, uri: str, etag: str) -> bool:
        return (uri, etag) in self.past

    def reopened_after(self, uri: str, etag: str) -> int:
        return self.reopened.get((uri, etag), 0)

    def ignored(self, uri: str, etag: str) -> bool:
        return (uri, etag) in self.other


DOC = Document("s3://b/a.pdf", "e1")
KEY = (DOC.uri, DOC.etag)
Failures = dict[int | None, Failed]


def run(count: int | None, held: set[int], failed: Failures, attempts: int = 3) -> tuple[str, Work | None, int]:
    decision = decide(DOC, Held({KEY: (count, held)}, {KEY: failed}), passing(attempts))
    return decision.fate, decision.work, decision.stays


@pytest.mark.parametrize(
    ("count", "held", "failed", "expected"),
    [
        (None, set(), {}, ("left", Work(DOC), 0)),  # new
        (3, {0, 1, 2}, {}, ("complete", None, 0)),
        (3, {0, 2}, {}, ("left", Work(DOC, (0, 2)), 0)),  # killed half way
        (3, {0, 2}, {1: Failed(1, False)}, ("failed", None, 1)),  # for good
        (3, {0, 2}, {1: Failed(1, True)}, ("left", Work(DOC, (0, 2), 2), 0)),  # once more
        (3, {0, 2}, {1: Failed(3, True)}, ("failed", None, 1)),  # often enough
        (3, {0, 1, 2}, {1: Failed(1, False)}, ("complete", None, 0)),  # a retry has given the page
        (4, {0}, {1: Failed(1, False), 2: Failed(2, True)}, ("left", Work(DOC, (0, 1), 3), 1)),
        (None, set(), {None: Failed(1, False)}, ("failed", None, 1)),  # can't be opened
        (None, set(), {None: Failed(2, True)}, ("left", Work(DOC, (), 3), 0)),
        (None, set(), {None: Failed(3, True)}, ("failed", None, 1)),
        (2, {0, 1}, {None: Failed(1, True)}, ("complete", None, 0)),  # the worker died after its last page
        (2, {0}, {None: Failed(1, False)}, ("failed", None, 1)),
        (None, set(), {0: Failed(1, False)}, ("left", Work(DOC, (0,)), 1)),  # there may be more pages
        (1, set(), {0: Failed(1, False)}, ("failed", None, 1)),
    ],
)
def test_rules(count: int | None, held: set[int], failed: Failures, expected: tuple[str, Work | None, int]) -> None:
    assert run(count, held, failed) == expected


def test_a_failure_of_a_page_that_is_not_wanted_any_more_is_past() -> None:
    state = Held({KEY: (4, {0, 1})}, {KEY: {2: Failed(1, False), 3: Failed(2, True)}})
    assert decide(DOC, state, passing(3), lambda count: range(2)) == Decision("complete", held=2)
    assert decide(DOC, state, passing(3), lambda count: range(3)) == Decision("failed", stays=1, held=2)
    assert decide(
        DOC, Held({KEY: (4, {0})}, {KEY: {3: Failed(2, True)}}), passing(3), lambda count: range(2)
    ).work == Work(DOC, (0,), 1)


def test_a_document_that_could_be_opened_later_goes_on_counting_its_attempts() -> None:
    """Else it would fail as a whole once more with the number of an attempt that is past."""
    state = Held({KEY: (3, {0})}, reopened={KEY: 2})
    assert decide(DOC, state, passing(3)).work == Work(DOC, (0,), 3)


def test_another_version_of_a_document_is_new() -> None:
    state = Held({KEY: (1, {0})})
    assert decide(Document(DOC.uri, "e2"), state, passing(3)).fate == "left"
    assert decide(DOC, state, passing(3)).fate == "complete"


def test_only_the_pages_asked_for_count() -> None:
    state = Held({KEY: (10, {0, 1})})
    assert decide(DOC, state, passing(3), lambda count: range(2)).fate == "complete"
    assert decide(DOC, state, passing(3), lambda count: [0, 9]).work == Work(DOC, (0, 1))
    # A selection that is empty for a document is the decoder's failure, unless pages of it were wanted before.
    assert decide(DOC, state, passing(3), lambda count: []).fate == "complete"
    assert decide(DOC, Held(), passing(3), lambda count: []).fate == "left"
    assert (
        decide(DOC, Held({KEY: (10, {0})}, {KEY: {None: Failed(1, False)}}), passing(3), lambda count: []).fate
        == "failed"
    )


def test_ignored() -> None:
    assert decide(DOC, Held(other={KEY}), passing(3)).fate == "ignored"


indexes = st.integers(0, 5)
failure = st.builds(Failed, st.integers(1, 4), st.booleans())


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[list[Document], Held]:
    documents = [Document(f"d{i}", "e") for i in range(draw(st.integers(0, 6)))]
    state = Held()
    for d in documents:
        key = (d.uri, d.etag)
        count = draw(st.none() | st.integers(1, 6))
        held = draw(st.sets(st.integers(0, count - 1))) if count else set()
        state.pages[key] = (count, held)
        pages = st.integers(0, count - 1) if count else indexes
        state.failed[key] = draw(st.dictionaries(st.none() | pages, failure, max_size=4))
        if draw(st.integers(0, 9)) == 0:
            state.other.add(key)
    return documents, state


@given(ledgers(), st.integers(1, 4))
def test_every_document_has_one_fate(case: tuple[list[Document], Held], attempts: int) -> None:
    documents, state = case
    tally = Tally()
    left = list(select(documents, state, passing(attempts), tally))
    assert tally.listed == len(documents) == tally.left + tally.complete + tally.failed + tally.ignored
    assert tally.left == len(left)
    assert [w.document for w in left] == [
        d for d in documents if d in {w.document.uri: w.document for w in left}.values()
    ]
    for work in left:
        count, held = state.pages_held(work.document.uri, "e")
        failed = state.failures(work.document.uri, "e")
        assert set(held) <= set(work.done)
        assert list(work.done) == sorted(set(work.done))
        # Something is left, or it isn't known that nothing is.
        assert count is None or set(work.done) != set(range(count))
        # What is done beyond the held pages failed, and won't be tried again.
        for index in set(work.done) - set(held):
            attempt, retryable, _ = failed[index]
            assert not retryable or attempt >= attempts
        assert 1 <= work.attempt <= attempts


@given(ledgers(), st.integers(1, 4))
def test_a_run_that_does_its_work_leaves_nothing(case: tuple[list[Document], Held], attempts: int) -> None:
    """After every page that is left got its row, or failed for good, the next run finds nothing."""
    documents, state = case
    for turn, work in enumerate(select(documents, state, passing(attempts), Tally())):
        key = (work.document.uri, "e")
        count, held = state.pages[key]
        count = count or 6
        todo = set(range(count)) - set(work.done)
        state.pages[key] = (count, held | (todo if turn % 2 else set()))
        if not turn % 2:
            state.failed[key] |= dict.fromkeys(todo, Failed(work.attempt, False))
    assert list(select(documents, state, passing(attempts), Tally())) == []


@given(st.integers(1, 5))
def test_a_page_that_keeps_failing_is_tried_so_often(attempts: int) -> None:
    state = Held({KEY: (1, set())})
    runs = 0
    while (work := decide(DOC, state, passing(attempts)).work) is not None:
        runs += 1
        state.failed[KEY] = {0: Failed(work.attempt, True)}
    assert runs == attempts


def test_manifest_of_the_run(tmp_path: Path) -> None:
    extra = [pa.field("customer", pa.string()), pa.field("tags", pa.list_(pa.int64()))]
    when = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    work = [
        Work(Document("a", "1", 10, when, {"customer": "x", "tags": [1, 2]}), (0, 5), 2),
        Work(Document("b", "", None, None, {"customer": None, "tags": None})),
    ] * 3
    batches = list(manifest_batches(iter(work), extra, rows=4))
    assert [b.num_rows for b in batches] == [4, 2]
    table = pa.Table.from_batches(batches)
    assert table.schema == manifest_schema(extra)
    pq.write_table(table, tmp_path / "m.parquet")
    assert list(read_manifest(pq.read_table(tmp_path / "m.parquet"))) == work


def test_manifest_of_the_run_without_extra(tmp_path: Path) -> None:
    work = [Work(Document("a", "1"), (1,), 3)]
    table = pa.Table.from_batches(manifest_batches(work, []))
    assert table.schema == MANIFEST
    pq.write_table(table, tmp_path / "m.parquet")
    assert list(read_manifest(pq.read_table(tmp_path / "m.parquet"))) == work
    assert list(manifest_batches([], [])) == []


def test_the_ledger_of_the_output_answers() -> None:
    """The real ledger gives what selection asks for."""
    state = FailureState(attempt=1, retryable=True, code="FETCH_FAILED", stage="fetch")
    ledger = Ledger(held={KEY: (3, 0b101)}, failed={KEY: {1: state}}, ignored_keys={("b.txt", "e")})
    assert decide(DOC, ledger, passing(3)).work == Work(DOC, (0, 2), 2)
    assert decide(DOC, ledger, passing(1)).fate == "failed"
    assert decide(Document("b.txt", "e"), ledger, passing(3)).fate == "ignored"


def test_a_version_that_came_back_is_looked_at_anew() -> None:
    failed = {KEY: {None: Failed(1, False)}}
    assert decide(DOC, Held(failed=failed), passing(3)).fate == "failed"
    assert decide(DOC, Held(failed=failed, past={KEY}), passing(3)).work == Work(DOC, (), 2)


def test_a_document_that_had_none_of_the_pages_is_read_once_some_are_wanted() -> None:
    state = Held({KEY: (3, set())}, {KEY: {None: Failed(1, False, "PAGES_EMPTY")}})
    assert decide(DOC, state, passing(3), lambda count: []).fate == "failed"
    assert decide(DOC, state, passing(3)).work == Work(DOC, (), 2)


def test_a_pdf_of_one_page_that_is_not_selected_stays_failed_until_it_is() -> None:
    """An image of one page is read whatever is selected, so such a page counts as expected; a PDF's is not."""
    state = Held({KEY: (1, set())}, {KEY: {None: Failed(1, False, "PAGES_EMPTY")}})
    for pages in ("2-", "3,5-7"):
        assert decide(DOC, state, passing(3), parse_pages(pages).expected) == Decision("failed", stays=1)
    for pages in ("", "1-", "1,7"):
        assert decide(DOC, state, passing(3), parse_pages(pages).expected).work == Work(DOC, (), 2)
    assert decide(DOC, Held({KEY: (1, set())}), passing(3), parse_pages("2-").expected).fate == "left"
    image = Held({KEY: (1, set())}, {KEY: {0: Failed(1, True)}})
    assert decide(DOC, image, passing(3), parse_pages("2-").expected).work == Work(DOC, (), 2)
