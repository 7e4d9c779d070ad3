"""When a probe ends, and with what."""

import time

import pytest

from ocrbatch.errors import StoppedEarlyError, UsageError
from ocrbatch.pipeline.resources import Pool, Pools
from ocrbatch.stages.write import Written
from ocrbatch.tuning import observer as observing
from ocrbatch.tuning.observer import Halted, Observer
from ocrbatch.tuning.search import Infeasible
from ocrbatch.tuning.witness import NOTES

PAIR = Pools("split", Pool(1, 1), Pool(1, 1), detectors=Pool(1, 1), recognizers=Pool(1, 1))
ONE = Pools("fused", Pool(1, 1), Pool(1, 1), readers=Pool(1, 1))


@pytest.fixture
def observed(tmp_path):
    """An observer of a probe of 16 s, and a worker's notes: the seconds ago at which it finished 8 pages each."""
    (tmp_path / NOTES).mkdir()

    def observe(*ago, pools=ONE, incumbent=None):
        now = time.monotonic()
        name = "ReadStage-1" if pools is ONE else "RecognizeStage-1"
        (tmp_path / NOTES / name).write_text("".join(f"{now - seconds} 8\n" for seconds in ago))
        observer = Observer(tmp_path, pools, 16.0, incumbent)
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


@pytest.mark.parametrize(("seconds", "rate"), [(8, 1.0), (1, 2.0)], ids=["detection", "recognition"])
def test_of_two_stages_the_slower_one_counts(observed, tmp_path, seconds, rate):
    now = time.monotonic()
    ends = [now - 18 + seconds * number for number in range(18 // seconds + 1)]
    (tmp_path / NOTES / "DetectStage-2").write_text("".join(f"{at} 8\n" for at in ends))
    observer = observed(17.0, 13.0, 9.0, 5.0, 1.0, pools=PAIR)
    assert halted(observer)
    assert observer.verdict() == (pytest.approx(rate), True)


def test_a_probe_waits_for_a_batch_of_the_stage_before(observed, tmp_path):
    (tmp_path / NOTES / "DetectStage-2").write_text(f"{time.monotonic() - 18} 8\n")
    assert not halted(observed(17.0, 13.0, pools=PAIR))


def test_a_worker_that_died_has_no_rate_however_fast_it_was(observed, tmp_path):
    observer = observed(17.0, 13.0, pools=PAIR)
    (tmp_path / NOTES / "DetectStage-2").touch()
    (tmp_path / NOTES / "DetectStage-3").touch()  # the same worker, started again
    observer = observed(17.0, 13.0, pools=PAIR)
    assert halted(observer)
    assert observer.verdict() == (Infeasible("a worker died"), False)


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
