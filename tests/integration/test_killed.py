"""The real command, killed and interrupted in the middle: the same command does the rest."""

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from dataset import content, job, rows

from ocrbatch.cli.main import main

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.timeout(400)]

SLOW = ["engine.name=fake", "engine.options={seconds: 0.15}", "pipeline.page_batch=2", "output.commit_seconds=0.2"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Sixty small pages: six tasks of ten, one after the other."""
    folder = tmp_path_factory.mktemp("pages")
    for number in range(60):
        page = np.full((64, 400, 3), 255, np.uint8)
        page[24:40, 16 : 40 + 5 * number] = 0
        cv2.imwrite(str(folder / f"{number:02d}.png"), page)
    return folder


@pytest.fixture(scope="module")
def clean(pages, tmp_path_factory, local_ray):
    """What an undisturbed run gives."""
    output = tmp_path_factory.mktemp("clean")
    assert job(output, f"input.uris=[{pages}]", *SLOW).exit_code == 0
    return content(rows(output))


def start(pages, output):
    """The command, in a process group of its own; comes back once it has committed and has work left."""
    words = ["run", "--input", str(pages), "--output", str(output)]
    words += [word for item in SLOW for word in ("--set", item)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ocrbatch.cli.main", *words], start_new_session=True, stderr=subprocess.DEVNULL
    )
    log = output / "_ocrbatch" / "log"
    deadline = time.monotonic() + 180
    while sum(b'"add"' in path.read_bytes().lower() for path in log.glob("*.json")) < 2:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def finish(pages, output, clean):
    """Runs the same work to its end and checks the whole."""
    report = job(output, f"input.uris=[{pages}]", *SLOW)
    assert report.exit_code == 0
    assert 0 < report.pages < len(clean), "what was committed is not read again"
    assert content(rows(output)) == clean
    assert main(["verify", str(output)]) == 0


def test_a_run_that_is_killed(pages, clean, tmp_path):
    process = start(pages, tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finish(pages, tmp_path, clean)


def test_a_run_that_is_interrupted_publishes_what_it_has(pages, clean, tmp_path):
    process = start(pages, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    published = rows(tmp_path)
    assert 0 < len(published) < len(clean)
    finish(pages, tmp_path, clean)
