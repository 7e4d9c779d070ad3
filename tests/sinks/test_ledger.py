"""The pure state: what is held, what is open, what a writer may add."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.errors import OutputInconsistentError
from ocrbatch.sinks.ledger import Ledger, PageSet
from ocrbatch.sinks.log import VERSION, Add, Close, FailedPage, HeldPages, Open, Part, Publish, decode, encode, seal

AT = "2026-01-01T00:00:00"


def pages_part(path: str, *documents: tuple[str, int, tuple[int, ...]]) -> Part:
    held = tuple(HeldPages(uri, "e", count, pages) for uri, count, pages in documents)
    return Part(path, "pages", "", sum(len(d.pages) for d in held), 10, "00", "s", ("f",), pages=held)


def failure(uri: str, index: int | None, attempt: int = 1, count: int | None = None) -> FailedPage:
    return FailedPage(uri, "e", index, count, "DETECT_FAILED", "detect", True, attempt)


def failures_part(path: str, *failures: FailedPage) -> Part:
    return Part(path, "failures", "", len(failures), 10, "00", "s", ("f",), failures=failures)


def opened(shard: str = "main") -> Ledger:
    ledger = Ledger()
    ledger.apply(0, Open(shard, 0, "r", "t", "h", 1, AT))
    return ledger


def add(ledger: Ledger, *parts: Part, ignored: tuple[tuple[str, str], ...] = ()) -> None:
    ledger.apply(ledger.next, Add("main", 0, AT, parts, ignored))


def version(uri: str, etag: str, index: int | None = None) -> FailedPage:
    return FailedPage(uri, etag, index, None, "PDF_BROKEN", "decode", False, 1)


def test_failures_are_past_once_another_version_is_met() -> None:
    """Only `open_failures` forgets them: a version that comes back, or a result that came late, has its end still."""
    ledger = opened()
    add(ledger, failures_part("a", version("a.pdf", "1"), version("a.pdf", "1", 3), version("b.pdf", "1")))
    assert ledger.failure_total == 3
    add(ledger, failures_part("b", version("a.pdf", "2")))
    assert [(uri, etag) for uri, etag, *_ in ledger.open_failures()] == [("b.pdf", "1"), ("a.pdf", "2")]
    assert set(ledger.failures("a.pdf", "1")) == {None, 3}
    add(ledger, pages_part("c", ("a.pdf", 1, (0,))))
    assert [(uri, etag) for uri, etag, *_ in ledger.open_failures()] == [("b.pdf", "1")]
    assert ledger.failure_total == 1
    assert set(ledger.failures("a.pdf", "2")) == {None}
    add(ledger, failures_part("d", version("a.pdf", "1", 4)))
    assert ledger.failure_total == 4, "the version of the first three is back"


def test_failures_are_past_once_they_are_dismissed() -> None:
    ledger = opened()
    add(ledger, failures_part("a", version("a.pdf", "1"), version("b.pdf", "1")))
    dismissed = Add("main", 0, AT, dismissed=(("a.pdf", "1"), ("c.pdf", "1")))
    assert decode(encode(dismissed), "log/3") == dismissed
    ledger.apply(ledger.next, dismissed)
    assert [(uri, etag) for uri, etag, *_ in ledger.open_failures()] == [("b.pdf", "1")]
    assert ledger.is_past("a.pdf", "1"), "so that a run which lists it reads it again"
    assert not ledger.is_past("c.pdf", "1"), "which has no failures"
    assert set(ledger.failures("a.pdf", "1")) == {None}, "and it is accounted for"
    add(ledger, failures_part("b", replace(version("a.pdf", "1"), attempt=2)))
    assert ledger.failure_total == 2


def test_an_archive_that_could_not_be_listed_is_past_once_a_listed_member_is_met() -> None:
    ledger = opened()
    broken = [version(f"{name}.zip", "1") for name in "abcd"]
    add(ledger, failures_part("a", *broken, version("a.zip!/2.png", "")))
    assert ledger.failure_total == 5, "a list may name a broken archive and its member"
    add(ledger, pages_part("b", ("b.zip!/1.png", 1, (0,))))
    add(ledger, failures_part("c", version("c.zip!/1.png", "2-0")))
    ledger.apply(ledger.next, Add("main", 0, "", (), (("d.zip!/list.json", "2-0"),)))
    assert [uri for uri, *_ in ledger.open_failures()] == ["a.zip", "a.zip!/2.png", "c.zip!/1.png"]


def test_a_failure_is_past_once_its_file_is_no_document() -> None:
    ledger = opened()
    add(ledger, failures_part("a", version("a.json", "1")))
    ledger.apply(ledger.next, Add("main", 0, "", (), (("a.json", "2"),)))
    assert ledger.failure_total == 0


def test_settings_are_those_that_pages_were_read_with() -> None:
    ledger = opened()
    add(ledger, replace(failures_part("a", failure("u", 0)), fingerprints=("failed",)))
    assert ledger.fingerprints == set()
    add(ledger, replace(pages_part("b", ("u", 1, (0,))), fingerprints=("read",)))
    assert ledger.fingerprints == {"read"}


@settings(deadline=None)
@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)))
def test_page_set_is_a_set(a: set[int], b: set[int]) -> None:
    one, other = PageSet.of(a), PageSet.of(b)
    assert list(one) == sorted(a)
    assert len(one) == len(a)
    assert all(i in one for i in a)
    assert not any(i in one for i in range(301) if i not in a)
    assert set(one & other) == a & b
    assert (one == other) == (a == b)
    assert -1 not in one
    assert "0" not in one


@pytest.mark.parametrize(
    "record",
    [
        Open("main", 3, "r", "t", "host", 12, AT),
        Add(
            "main",
            3,
            AT,
            (pages_part("a", ("u\udcff", 9, (0, 8))), failures_part("b", failure("v", None, 2))),
            (("x", "y"),),
        ),
        Publish("main", 3, AT, "pages", "dt=1", "pages/dt=1/part-7.parquet", "m", ("a", "b"), 3, 4, "00", "s"),
        Close("main", 3, AT),
    ],
)
def test_records_survive_json(record: Open | Add | Publish | Close) -> None:
    assert decode(encode(record), "log/3") == record
    assert encode(record) != encode(record), "each body has a nonce of its own"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b'{"v":null}'),
        *(seal({"v": VERSION, "type": kind}) for kind in ("burn", "open")),
        encode(Close("main", 3, AT)).replace(b"main", b"mine"),
    ],
)
def test_what_is_no_record_is_named(body: bytes) -> None:
    with pytest.raises(OutputInconsistentError, match="log/3 is not a record"):
        decode(body, "log/3")


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_a_log_of_another_version_accuses_nobody(version: int) -> None:
    with pytest.raises(OutputInconsistentError, match=f"log/3 .* version {version}") as caught:
        decode(f'{{"v":{version},"type":"publish","shard":"main"}}'.encode(), "log/3")
    assert "another output" in caught.value.remedy


def test_records_may_gain_keys() -> None:
    record = Open("main", 3, "r", "t", "host", 12, AT)
    tree = json.loads(encode(record))
    del tree["seal"]
    assert decode(seal({"later": 5, **tree}), "log/3") == record


def test_of_an_add_only_what_came_later_may_be_missing() -> None:
    tree = json.loads(encode(Add("main", 3, AT)))
    del tree["seal"], tree["dismissed"]
    assert decode(seal(tree), "log/3") == Add("main", 3, AT)
    del tree["ignored"]
    with pytest.raises(OutputInconsistentError, match="log/3 is not a record"):
        decode(seal(tree), "log/3")


@settings(max_examples=300)
@given(st.data())
def test_a_record_of_which_a_byte_was_changed_is_none(data: st.DataObject) -> None:
    body = bytearray(encode(Add("main", 0, "now", ignored=(("a", "e"),))))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != body[place]))
    with pytest.raises(OutputInconsistentError, match="log/3"):
        decode(bytes(body), "log/3")


def test_pages_are_held_and_counted() -> None:
    ledger = opened()
    assert ledger.pages_held("u", "e") == (None, PageSet())
    add(ledger, pages_part("a", ("u", 4, (0, 2))))
    add(ledger, pages_part("b", ("u", 4, (3,)), ("v", 1, (0,))))
    count, held = ledger.pages_held("u", "e")
    assert (count, set(held)) == (4, {0, 2, 3})
    assert ledger.pages_held("u", "other") == (None, PageSet())
    assert ledger.page_total == 4


def test_failures_are_open_until_their_page_is_held() -> None:
    ledger = opened()
    add(ledger, failures_part("a", failure("u", 1, count=3), failure("w", None)), ignored=(("x", "e"),))
    assert ledger.failures("u", "e")[1].attempt == 1
    assert ledger.pages_held("u", "e") == (3, PageSet()), "a failed page may tell how many there are"
    assert ledger.ignored("x", "e")
    assert not ledger.ignored("u", "e")
    add(ledger, pages_part("b", ("u", 3, (0, 1, 2)), ("w", 2, (0,))))
    assert not ledger.failures("u", "e")
    assert not ledger.failures("w", "e"), "the document could be opened after all"
    assert ledger.failure_total == 0


def test_a_documents_failure_after_some_of_its_pages_is_open() -> None:
    """Else the pages that are missing would be accounted for by nothing."""
    ledger = opened()
    add(ledger, pages_part("a", ("u", 3, (0,))))
    add(ledger, failures_part("b", failure("u", None)))
    assert None in ledger.failures("u", "e")


def test_a_later_page_failure_replaces_the_documents() -> None:
    ledger = opened()
    add(ledger, failures_part("a", failure("u", None, 2)))
    add(ledger, failures_part("b", failure("u", 0, 1)))
    assert set(ledger.failures("u", "e")) == {None, 0}, "an older result, found late, says nothing of attempt 2"
    add(ledger, failures_part("c", failure("u", 1, 3)))
    assert set(ledger.failures("u", "e")) == {0, 1}


def test_admit_leaves_out_what_is_held() -> None:
    ledger = opened()
    add(ledger, pages_part("a", ("u", 4, (0, 1))))
    whole, some, none = ledger.admit(
        [
            pages_part("b", ("v", 1, (0,))),
            pages_part("c", ("u", 4, (1, 2)), ("v", 1, (0,))),
            pages_part("d", ("u", 4, (0,))),
        ]
    )
    assert whole.pages == (HeldPages("v", "e", 1, (0,)),)
    assert some.pages == (HeldPages("u", "e", 4, (2,)),), "v's page is claimed by an earlier part"
    assert none.pages == ()


def test_admit_gives_the_very_part_where_all_is_new() -> None:
    part = pages_part("b", ("v", 1, (0,)))
    assert opened().admit([part])[0] is part


def test_a_part_is_added_once_however_often_it_comes() -> None:
    ledger = opened()
    part = pages_part("a", ("u", 4, (0, 1)))
    first, again = ledger.admit([part, part])
    assert first is part
    assert again.pages == ()
    add(ledger, part)
    assert ledger.admit([part])[0].pages == ()
    assert ledger.names("a")


def test_failures_are_admitted_once_an_attempt() -> None:
    ledger = opened()
    add(ledger, failures_part("a", failure("u", 0, 1)), pages_part("p", ("w", 2, (0, 1)), ("x", 3, (0,))))
    same, later, moot, whole, partly = ledger.admit(
        [
            failures_part("b", failure("u", 0, 1)),
            failures_part("c", failure("u", 0, 2)),
            failures_part("d", failure("w", 1, 5)),
            failures_part("e", failure("w", None, 5)),
            failures_part("f", failure("x", None, 5)),
        ]
    )
    assert [len(part.failures) for part in (same, later, moot, whole, partly)] == [0, 1, 0, 0, 1]
    assert ledger.admit([failures_part("f", failure("x", None, 5))], late=True)[0].failures == ()


def test_pages_of_the_same_call_make_failures_moot() -> None:
    ledger = opened()
    failed, held = ledger.admit([failures_part("f", failure("u", 0)), pages_part("p", ("u", 1, (0,)))])
    assert failed.failures == ()
    assert held.pages


keys = st.tuples(st.sampled_from("uv"), st.sampled_from("ef"))
indexes = st.sets(st.integers(0, 3), min_size=1, max_size=3).map(lambda s: tuple(sorted(s)))
page_parts = st.builds(lambda k, p: ("pages", k, p), keys, indexes)
failure_parts = st.builds(lambda k, i, a: ("failures", k, i, a), keys, st.none() | st.integers(0, 3), st.integers(1, 3))
any_parts = st.lists(page_parts | failure_parts, max_size=12)


def make(number: int, kind: str, key: tuple[str, str], *rest: object) -> Part:
    if kind == "pages":
        part = pages_part(f"p{number}", (key[0], 4, rest[0]))  # type: ignore[arg-type]
        return replace(part, pages=tuple(replace(held, etag=key[1]) for held in part.pages))
    return failures_part(f"p{number}", replace(failure(key[0], *rest), etag=key[1]))  # type: ignore[arg-type]


@settings(deadline=None)
@given(any_parts, any_parts, page_parts | failure_parts, st.booleans())
def test_what_is_superfluous_stays_so(first: list, then: list, probe: tuple, late: bool) -> None:  # type: ignore[type-arg]
    """A file with nothing new may be deleted: whatever is added later, nobody will ever add it."""
    ledger = opened()
    candidate = make(10_000, *probe)
    for number, spec in enumerate(first):
        add(ledger, *(p for p in ledger.admit([make(number, *spec)]) if p.pages or p.failures))
    empty = lambda part: not part.pages and not part.failures  # noqa: E731
    if not empty(ledger.admit([candidate], late=late)[0]):
        return
    for number, spec in enumerate(then):
        add(ledger, *(p for p in ledger.admit([make(100 + number, *spec)]) if p.pages or p.failures))
        assert empty(ledger.admit([candidate], late=True)[0])
        assert late or empty(ledger.admit([candidate])[0])


@settings(deadline=None)
@given(any_parts)
def test_a_failure_stands_until_its_own_document_does_better(parts: list) -> None:  # type: ignore[type-arg]
    ledger = opened()
    for number, spec in enumerate(parts):
        fresh = [part for part in ledger.admit([make(number, *spec)]) if part.pages or part.failures]
        add(ledger, *fresh)
        key, shown = spec[1], {(uri, etag) for uri, etag, *_ in ledger.open_failures()}
        assert len({uri for uri, _ in shown}) == len(shown), "of one version of a document at most"
        assert not fresh or (key in shown) == bool(ledger.failures(*key)), "of the one that was met last"
    for kind, key, *rest in parts:
        held, failed = ledger.pages_held(*key)[1], ledger.failures(*key)
        if kind == "failures":
            assert rest[0] in failed or (rest[0] in held if rest[0] is not None else bool(held or failed))


def test_publish_replaces_staged_parts_and_is_pending_until_the_writer_goes_on() -> None:
    ledger = opened()
    add(ledger, pages_part("a", ("u", 1, (0,))), pages_part("b", ("v", 1, (0,))))
    publish = Publish("main", 0, AT, "pages", "", "pages/part-2.parquet", "m", ("a", "b"), 2, 9, "00", "s")
    ledger.apply(2, publish)
    assert ledger.unapplied["main"] == (2, publish)
    assert ledger.names("m")
    assert not ledger.names("a")
    ledger.apply(3, Open("main", 3, "r2", "t2", "h", 2, AT))
    assert ledger.unapplied["main"] == (2, publish), "the writer before may have died before it applied it"
    assert not ledger.settled
    ledger.apply(4, Close("main", 3, AT))
    assert not ledger.unapplied
    assert ledger.settled


@pytest.mark.parametrize(
    "record",
    [
        Open("main", 0, "r", "t", "h", 1, AT),
        Add("main", 1, AT),
        Add("other", 0, AT),
        Add("main", 0, AT, (pages_part("b", ("u", 1, (0,))),)),
        Add("main", 0, AT, (pages_part("a", ("v", 1, (0,))),)),
        Publish("main", 0, AT, "pages", "", "pages/part-2.parquet", "m", ("a", "nowhere"), 2, 9, "00", "s"),
    ],
)
def test_a_record_that_no_writer_can_have_written_is_refused(record: Open | Add | Publish) -> None:
    ledger = opened()
    add(ledger, pages_part("a", ("u", 1, (0,))))
    with pytest.raises(OutputInconsistentError, match="record 2"):
        ledger.apply(2, record)
