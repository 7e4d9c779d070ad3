"""A ledger survives its Parquet file, whatever is in it."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.sinks import checkpoint
from ocrbatch.sinks.ledger import FailureState, Ledger, Published
from ocrbatch.sinks.log import Add, FailedPage, HeldPages, Open, Part, Publish

AT = "2026-01-01T00:00:00"

words = st.text(max_size=5) | st.sampled_from(["u\udcff", "a\x00b", "é"])  # a file's name need not be valid Unicode
numbers = st.integers(0, 2**31 - 1)
keys = st.tuples(words, words)
counts = st.none() | st.integers(0, 70)
states = st.builds(FailureState, numbers, st.booleans(), st.sampled_from(["A", "B"]), st.sampled_from(["c", "d"]))
failed_pages = st.dictionaries(st.none() | numbers, states, min_size=1, max_size=3)
indexes = st.lists(st.integers(0, 5000), max_size=3).map(tuple)
held_pages = st.lists(st.builds(HeldPages, words, words, numbers, indexes), max_size=2).map(tuple)
failures = st.lists(
    st.builds(FailedPage, words, words, st.none() | numbers, st.none() | numbers, words, words, st.booleans(), numbers),
    max_size=2,
).map(tuple)
kinds = st.sampled_from(["pages", "failures"])
parts = st.builds(Part, words, kinds, words, numbers, numbers, words, words, st.just(("f",)), held_pages, failures)
opens = st.builds(Open, words, numbers, words, words, words, numbers, words)
publishes = st.builds(
    Publish, words, numbers, words, kinds, words, words, words, st.just(("a",)), numbers, numbers, words, words
)


def with_failing(ledger: Ledger) -> Ledger:
    for uri, etag in ledger.failed:
        ledger.failing.setdefault(uri, set()).add(etag)
    return ledger


ledgers = st.builds(
    Ledger,
    next=numbers,
    held=st.dictionaries(keys, st.tuples(counts, st.integers(0, 2**80)), max_size=4),
    page_total=numbers,
    failed=st.dictionaries(keys, failed_pages, max_size=3),
    past=st.sets(keys, max_size=2),
    reopened=st.dictionaries(keys, numbers, max_size=2),
    ignored_keys=st.sets(keys, max_size=2),
    staged=st.dictionaries(words, st.lists(parts, max_size=3).map(lambda few: {p.path: p for p in few}), max_size=2),
    published=st.dictionaries(words, st.builds(Published, numbers, kinds, numbers, numbers, words, words), max_size=2),
    unapplied=st.dictionaries(words, st.tuples(numbers, publishes), max_size=2),
    owners=st.dictionaries(numbers, words, max_size=2),
    opened=st.dictionaries(words, opens, max_size=2),
    closed=st.sets(words, max_size=2),
    fingerprints=st.sets(words, max_size=2),
).map(with_failing)


@given(ledgers)
def test_a_ledger_survives(ledger: Ledger) -> None:
    again = checkpoint.decode(checkpoint.encode(ledger))
    assert again == ledger
    assert list(again.failed) == list(ledger.failed), "those who list failures name the same ones first"
    assert {shard: list(found) for shard, found in again.staged.items()} == {
        shard: list(found) for shard, found in ledger.staged.items()
    }, "merges go in the order of the log"


def test_every_field_of_a_ledger_is_looked_at() -> None:
    """A field that is added to Ledger must be added to its checkpoint, and to the strategy above."""
    assert list(Ledger.__slots__) == [
        "next", "held", "page_total", "failed", "failing", "past", "reopened", "ignored_keys", "staged", "published",
        "unapplied", "owners", "opened", "closed", "fingerprints",
    ]  # fmt: skip


def test_whole_documents_take_no_room_for_their_pages() -> None:
    ledger = Ledger()
    ledger.apply(0, Open("main", 0, "r", "t", "h", 1, AT))
    pages = (HeldPages("whole", "e", 5000, tuple(range(5000))), HeldPages("partly", "e", 5000, (0, 4999)))
    ledger.apply(1, Add("main", 0, AT, (Part("p", "pages", "", 5002, 1, "00", "s", ("f",), pages),)))
    body = checkpoint.encode(ledger)
    rows = {row["uri"]: row for row in pq.read_table(io.BytesIO(body)).to_pylist()}
    assert rows[b"whole"]["pages"] is None
    assert len(rows[b"partly"]["pages"]) == 625
    again = checkpoint.decode(body)
    assert again == ledger
    assert again.page_total == 5002


@pytest.mark.parametrize("body", [b"", b"PAR1", checkpoint.encode(Ledger())[:-9]])
def test_what_is_no_checkpoint_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, OSError)):
        checkpoint.decode(body)


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    body = checkpoint.encode(Ledger())
    monkeypatch.setattr(checkpoint, "VERSION", checkpoint.VERSION + 1)
    with pytest.raises(ValueError, match="version"):
        checkpoint.decode(body)
