"""A run that fails everywhere ends early, says why, and keeps what it has."""

import os
import signal
import threading

import pytest
from dataset import bar_pages, job, rows
from waiting import until

from ocrbatch.errors import InterruptedRunError, StoppedEarlyError
from ocrbatch.pipeline.session import _workers

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def broken(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_a_run_that_fails_everywhere_stops_early(broken, tmp_path):
    wanted = [f"input.uris=[{broken}]", "engine.name=fake", "output.commit_seconds=0.1"]
    with pytest.raises(StoppedEarlyError, match="results are failures") as caught:
        job(tmp_path / "out", *wanted)
    report = caught.value.report
    assert (caught.value.exit_code, report.exit_code) == (5, 5)
    assert "max_error_rate" in caught.value.remedy
    failed = len(rows(tmp_path / "out", "failures"))
    assert 100 <= failed < 400
    again = job(tmp_path / "out", *wanted, "pipeline.max_error_rate=1.1")
    assert again.exit_code == 3
    uris = [row["uri"] for row in rows(tmp_path / "out", "failures")]
    assert len(uris) == len(set(uris)) == 400, "what failed for good is not tried again"


def test_nobody_goes_on_reading_in_a_ray_that_lives_on(tmp_path):
    """As in a notebook, when its user presses Ctrl-C."""
    pages, output = bar_pages(tmp_path, 12), tmp_path / "out"
    log = output / "_ocrbatch" / "log"

    def press() -> None:
        until(lambda: any(b'"type":"add"' in path.read_bytes() for path in log.glob("*.json")))
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    slow = ["engine.name=fake", "engine.options={seconds: 0.5}", "pipeline.page_batch=1", "output.commit_seconds=0.1"]
    with pytest.raises(InterruptedRunError) as caught:
        job(output, f"input.uris=[{pages}]", *slow)
    finger.join()
    run_id = caught.value.report.run_id
    assert _workers(run_id) == []
    assert job(output, f"input.uris=[{pages}]", "engine.name=fake").exit_code == 0
    assert _workers(run_id) == [], "nor does a pool make new ones"
    assert len(rows(output)) == len({row["uri"] for row in rows(output)}) == 12
