"""When a probe ends, and with what."""

import time

import pytest

from ocrbatch.errors import StoppedEarlyError, UsageError
from ocrbatch.pipeline.resources import Pool, Pools
from ocrbatch.stages.spans import Span
from ocrbatch.stages.write import Written
from ocrbatch.tuning import observer as observing
from ocrbatch.tuning.observer import Halted, Observer
from ocrbatch.tuning.search import Infeasible

PAIR = Pools("split", Pool(1, 1), Pool(1, 1), detectors=Pool(1, 1), recognizers=Pool(1, 1))
ONE = Pools("fused", Pool(1, 1), Pool(1, 1), readers=Pool(1, 1))


def batch(stage, worker, end):
    return Written(pages=8, spans=(Span(stage, worker, end - 1, end - 1, end - 1, end, 8),))


@pytest.fixture
def observed():
    """An observer of a probe of 16 s, and a worker: the seconds ago at which it finished 8 pages each."""

    def observe(*ago, pools=ONE, incumbent=None):
        now = time.time()
        observer = Observer(pools, 16.0, incumbent)
        for seconds in ago:
            observer.look(batch("read" if pools is ONE else "recognize", "1", now - seconds))
        observer.look(None)
        return observer

    return observe


def halted(observer):
    try:
        return observer.judge(0)
    except Halted:
        return True


def test_a_probe_goes_on_for_its_time_once_warm(observed):
    assert not halted(observed())
    assert not halted(observed(100.0)), "one batch has no rate"
    assert not halted(observed(15.0, 11.0, 7.0, 3.0))
    done = observed(17.0, 13.0, 9.0, 5.0, 1.0)
    assert halted(done)
    assert done.verdict() == (pytest.approx(2.0), True)


def test_who_is_clearly_behind_is_given_up_after_a_third_of_the_time(observed):
    assert not halted(observed(5.0, 1.0, incumbent=4.0)), "too early to tell"
    assert not halted(observed(6.0, 2.0, incumbent=2.4)), "not clearly"
    behind = observed(6.0, 2.0, incumbent=2.6)
    assert halted(behind)
    assert behind.verdict() == (pytest.approx(2.0), False)


def test_a_worker_that_died_has_no_rate_however_fast_it_was(observed):
    observer = observed(15.0, 11.0, pools=PAIR)
    observer.look(batch("detect", "2", time.time()))
    assert not halted(observer)
    observer.look(batch("detect", "3", time.time()))  # the same worker, started again
    assert halted(observer)
    assert observer.verdict() == (Infeasible("a worker died"), False)


def test_of_two_stages_the_slower_one_tells(observed):
    observer = observed(12.0, 8.0, 4.0, pools=PAIR)
    assert not halted(observer), "detection has finished nothing yet"
    now = time.time()
    for seconds in (14.0, 6.0):
        observer.look(batch("detect", "1", now - seconds))
    observer.look(batch("recognize", "1", now))
    assert observer.verdict() == (pytest.approx(1.0), True)


def test_batches_may_come_in_any_order(observed):
    observer = observed(15.0, 3.0, 7.0, 11.0)
    assert observer.verdict() == (pytest.approx(2.0), True)


def test_a_batch_that_is_lost_with_its_worker_tells_as_much(observed):
    observer = observed(17.0, 13.0)
    with pytest.raises(Halted):
        observer.judge(1)
    assert observer.verdict() == (Infeasible("a worker died"), False)


def failure(stage="decode", message="bad bytes"):
    return {"uri": "/in/a.png", "stage": stage, "message": message, "remedy": "Mend it."}


def test_a_page_that_a_model_had_no_memory_for_makes_a_point_infeasible(observed):
    observer = observed()
    observer.look(Written(pages=7, failures=(failure("recognize", "Failed to allocate memory for a buffer"),)))
    assert halted(observer)
    assert isinstance(observer.verdict()[0], Infeasible)
    observer = observed()
    observer.look(Written(pages=7, failures=(failure("decode", "needs more than documents.memory_mb"),)))
    assert not halted(observer), "a document's own matter, whatever the point"


def test_a_sample_that_cannot_be_read_ends_tuning(observed):
    observer = observed()
    with pytest.raises(UsageError, match="no page of the sample can be read") as caught:
        observer.look(Written(failures=(failure(),) * 60))
    assert caught.value.remedy == "Mend it."
    observer = observed()
    with pytest.raises(StoppedEarlyError, match="disk full"):
        observer.look(Written(stop=("disk full", "Make room.", 5)))
    with pytest.raises(UsageError, match="the sample ended"):
        observed().verdict()


def test_workers_that_never_get_warm_are_not_waited_for_for_ever(observed, monkeypatch):
    monkeypatch.setattr(observing, "START_SECONDS", -1.0)
    observer = observed()
    assert halted(observer)
    assert "had finished 8 pages" in observer.verdict()[0].reason
