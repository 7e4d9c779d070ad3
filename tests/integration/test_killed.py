"""The real command, killed and interrupted in the middle: the same command does the rest."""

import os
import signal

import pytest
from command import FAKE, commits, log
from dataset import content, job, rows
from waiting import until

from ocrbatch.cli.main import main

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.timeout(400)]


@pytest.fixture
def started(command, pages, tmp_path):
    """The command, once it has committed and has work left."""
    process = command(pages, tmp_path)
    until(lambda: commits(log(tmp_path)) >= 2, alive=process)
    return process


def finish(pages, output, clean):
    """Runs the same work to its end, at full speed, and checks the whole."""
    report = job(output, f"input.uris=[{pages}]", *FAKE)
    assert report.exit_code == 0
    assert 0 < report.pages < len(clean), "what was committed is not read again"
    assert content(rows(output)) == clean
    assert main(["verify", str(output)]) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_while_ray_starts(command, pages, tmp_path, number, code):
    process = command(pages, tmp_path)
    until(lambda: log(tmp_path), alive=process)  # it has the output, and goes on to Ray
    process.send_signal(number)
    assert process.wait(timeout=60) == code, process.said
    assert f"interrupted by {number.name}" in process.said
    assert not list((tmp_path / "_ocrbatch" / "lease").glob("*.json"))


def test_a_run_that_is_killed(started, pages, clean, tmp_path):
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    finish(pages, tmp_path, clean)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_interrupted_publishes_what_it_has(started, pages, clean, tmp_path, number):
    if number == signal.SIGHUP:  # a terminal that is closed tells all that it has
        os.killpg(started.pid, number)
    else:
        started.send_signal(number)
    assert started.wait(timeout=60) == 128 + number, started.said
    assert 0 < len(rows(tmp_path)) < len(clean)
    finish(pages, tmp_path, clean)
