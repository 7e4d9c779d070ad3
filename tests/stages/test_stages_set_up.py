"""A worker that is killed in its set-up is not started for ever."""

import pytest

from ocrbatch.errors import StoppedEarlyError, UsageError
from ocrbatch.stages import watch


@pytest.fixture
def marks(tmp_path, monkeypatch):
    file = tmp_path / "worker.starts"
    monkeypatch.setattr(watch, "_marks", lambda: file)
    return file


def killed(marks):
    """What a start that is killed leaves."""
    with pytest.raises(SystemExit), watch.set_up():
        left = marks.read_bytes()
        raise SystemExit
    marks.write_bytes(left)


def test_it_fails_after_some_kills_and_may_then_begin_anew(marks):
    for _ in range(watch.STARTS):
        killed(marks)
    with pytest.raises(StoppedEarlyError, match="3 times"), watch.set_up():
        pytest.fail("set up once more")
    assert not marks.exists()


def test_a_set_up_that_ends_wipes_the_slate(marks):
    for _ in range(watch.STARTS + 1):
        killed(marks)
        with watch.set_up():
            pass
        killed(marks)
        with pytest.raises(UsageError), watch.set_up():
            raise UsageError("a model is missing", "")


def test_outside_of_ray_nothing_is_counted():
    assert watch._marks() is None
