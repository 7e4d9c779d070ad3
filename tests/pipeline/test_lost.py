"""What a pass did not bring home is told from what an earlier run left open."""

from ocrbatch.documents.pages import parse_pages
from ocrbatch.pipeline.lost import decided, lost, lost_rows
from ocrbatch.records import Document
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Add, FailedPage, HeldPages, Open, Part
from ocrbatch.sources.selection import Decision, Work

AT = "2026-01-01T00:00:00"
DOCUMENT = Document("a.pdf", "e")


def ledger(pages=(), failures=(), count=3, code="DETECT_FAILED", known=None):
    """One that holds these pages of a.pdf, and these failures: (page index, attempt, retryable).

    known: the page count that the failures tell.
    """
    held = (HeldPages("a.pdf", "e", count, pages),) if pages else ()
    failed = tuple(FailedPage("a.pdf", "e", i, known, code, "detect", again, n) for i, n, again in failures)
    parts = []
    if held:
        parts.append(Part("p", "pages", "", len(pages), 1, "00", "s", ("f",), pages=held))
    if failed:
        parts.append(Part("f", "failures", "", len(failed), 1, "00", "s", ("f",), failures=failed))
    made = Ledger()
    made.apply(0, Open("main", 0, "r", "t", "h", 1, AT))
    made.apply(1, Add("main", 0, AT, tuple(parts), ()))
    return made


def test_a_failure_of_an_earlier_run_does_not_stand_for_this_one():
    state = ledger(failures=[(None, 1, True)])
    (again,) = lost(iter([Work(DOCUMENT, attempt=2)]), state, range)
    assert again.attempt == 2
    assert list(lost(iter([Work(DOCUMENT, attempt=1)]), state, range)) == []


def test_a_failure_that_was_left_standing_stands():
    state = ledger(pages=(0,), failures=[(1, 1, False)])
    assert decided(Work(DOCUMENT, done=(1,), attempt=2), state, range).work.done == (0, 1)


def test_the_attempt_stays_that_of_the_run():
    """The page that failed before is held by now; another one is lost."""
    state = ledger(pages=(0, 1))
    (again,) = lost(iter([Work(DOCUMENT, attempt=3)]), state, range)
    assert (again.done, again.attempt) == ((0, 1), 3)


def test_rows_for_what_nobody_could_read():
    state = ledger(pages=(1,), failures=[(0, 1, True)])
    (work,) = lost(iter([Work(DOCUMENT, attempt=2)]), state, range)
    found = list(lost_rows(work, state, range))
    assert [(row["page_index"], row["attempt"]) for row in found] == [(0, 2), (2, 2)]
    assert {row["failure"]["code"] for row in found} == {"WORKER_CRASHED"}


def test_a_document_that_was_never_opened_is_one_row():
    (row,) = lost_rows(Work(DOCUMENT), ledger(failures=[(None, 1, True)]), range)
    assert (row["page_index"], row["page_count"]) == (None, None)


def test_a_document_that_has_none_of_the_pages_is_not_lost():
    """Also where it has one page: an image's would be read, and a PDF's is not."""
    expected = parse_pages("2-").expected
    state = ledger(failures=[(None, 1, False)], code="PAGES_EMPTY", known=1)
    assert decided(Work(DOCUMENT), state, expected) == Decision("failed", stays=1)
    assert list(lost(iter([Work(DOCUMENT)]), state, expected)) == []
