"""The progress line."""

import io
import os
import pty
import struct
import termios
from fcntl import ioctl

from ocrbatch.report.progress import LINE_SECONDS, Progress, duration


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_plan_grows_as_documents_are_met():
    progress = Progress(3, io.StringIO(), Clock())
    assert progress.planned == 3
    progress.meet(50)
    assert progress.planned == 52
    assert "0 of at least 52 pages" in progress.line()
    assert progress.line().endswith("1 of 3 documents")
    progress.meet(1)
    progress.meet(0)
    assert progress.planned == 51
    assert "0 of 51 pages" in progress.line()
    assert "documents" not in progress.line()


def test_rate_and_eta():
    clock = Clock()
    progress = Progress(1, io.StringIO(), clock)
    progress.meet(100)
    clock.now += 10
    progress.add(pages=20, failures=5)
    assert progress.line() == "20 of 100 pages · 2.0 pages/s · ETA 38s · 5 failed"


def test_one_line_every_ten_seconds_without_a_terminal():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(1, stream, clock)
    for _ in range(41):
        clock.now += 0.5
        progress.show()
    assert stream.getvalue().count("\n") == int(41 * 0.5 // LINE_SECONDS)
    assert "\r" not in stream.getvalue()


def test_durations():
    assert [duration(s) for s in (0, 59.4, 61, 3725)] == ["0s", "59s", "1m01s", "1h02m"]


def test_a_line_fits_into_the_terminal():
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with os.fdopen(follower, "w", encoding="utf8") as terminal:
        progress = Progress(7, terminal, Clock())
        assert len(progress.line()) > 60
        progress.show(force=True)
        shown = os.read(leader, 4096).decode().removeprefix("\r\x1b[2K")
    os.close(leader)
    assert shown == progress.line()[:59]
    assert shown.startswith("0 of at least 7 pages · the first take a while · 0 failed")
