"""The fake engine shows a mix-up of rows, and fails as it is told."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ocrbatch.engines import fake
from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.fake import FakeEngine
from ocrbatch.errors import UsageError


def engine(head: str, **extra: object) -> FakeEngine:
    return FakeEngine(fake.weights(head), EngineOptions(extra=extra))


def test_a_map_shows_the_dark_bars_and_only_them() -> None:
    pages = np.full((2, 64, 64, 3), 255, np.uint8)
    pages[0, 16:32, 8:56] = 0
    (found,) = engine("map").run(pages)
    expected = np.zeros((64, 64), np.float32)
    expected[16:32, 8:56] = 0.9
    assert np.array_equal(found[0], expected)
    assert not found[1].any()


def test_a_row_reads_by_its_pixels() -> None:
    rows = np.random.default_rng(0).integers(0, 255, (3, 48, 128, 3), dtype=np.uint8)
    classes, _ = engine("ctc").run(rows)
    assert len({row.tobytes() for row in classes}) == 3
    assert not classes[:, 1::2].any()
    assert classes[:, ::2].all()


def marked(head: str) -> np.ndarray:
    rows = np.full((3, 48, 64, 3), 200, np.uint8)
    rows[1, 0, 0] = (1, 2, 3)
    return rows


@pytest.mark.parametrize("head", ["map", "ctc"])
@pytest.mark.parametrize(("fault", "message"), [("raise", "told to fail"), ("nan", "NaN")])
def test_a_marked_row_fails_its_batch_and_no_other(head: str, fault: str, message: str) -> None:
    faulty = engine(head, fault=fault)
    with pytest.raises(RuntimeError, match=message):
        faulty.run(marked(head))
    clean = faulty.run(marked(head)[[0, 2]])
    assert all(np.array_equal(a, b) for a, b in zip(clean, engine(head).run(marked(head)[[0, 2]]), strict=True))


def test_the_marker_is_configurable() -> None:
    engine("map", fault="raise", marker=(9, 9, 9)).run(marked("map"))
    with pytest.raises(RuntimeError):
        engine("map", fault="raise", marker=(200, 200, 200)).run(marked("map"))


def test_a_crash_is_native() -> None:
    code = (
        "import numpy as np; from ocrbatch.engines import fake; from ocrbatch.engines.base import EngineOptions;"
        "e = fake.FakeEngine(fake.weights('map'), EngineOptions(extra={'fault': 'crash', 'marker': [0, 0, 0]}));"
        "e.run(np.zeros((1, 32, 32, 3), np.uint8))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGSEGV


def test_a_hang_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "HANG_SECONDS", 0.2)
    begun = time.monotonic()
    engine("map", fault="hang").run(marked("map"))
    assert time.monotonic() - begun >= 0.2


def test_a_delay_is_for_each_row() -> None:
    slow, begun = engine("map", seconds=0.02), time.monotonic()
    slow.run(marked("map"))
    assert time.monotonic() - begun >= 0.06


@pytest.mark.parametrize("extra", [{"falt": "raise"}, {"fault": "explode"}])
def test_a_misspelt_option_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"falt|explode"):
        engine("map", **extra)
