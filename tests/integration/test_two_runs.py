"""Two real commands on one output: the second one names the first and stops, or waits and does the rest."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from dataset import rows

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.timeout(400)]

SLOW = ["engine.name=fake", "engine.options={seconds: 0.15}", "pipeline.page_batch=2", "output.commit_seconds=0.2"]
PAGES = 24


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for number in range(PAGES):
        page = np.full((64, 400, 3), 255, np.uint8)
        page[24:40, 16 : 40 + 10 * number] = 0
        cv2.imwrite(str(folder / f"{number:02d}.png"), page)
    return folder


@pytest.fixture
def command(pages, tmp_path):
    """Starts the command in a process group of its own; what is left at the test's end is killed."""
    started = []

    def start(*words):
        line = [sys.executable, "-m", "ocrbatch.cli.main", "run", "--json", "--input", str(pages)]
        line += ["--output", str(tmp_path / "out"), *words, *(word for item in SLOW for word in ("--set", item))]
        errors = tmp_path / f"errors-{len(started)}"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(line, start_new_session=True, stdout=subprocess.PIPE, stderr=stderr, text=True)
        started.append(process)
        return process, errors

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(sign, process):
    """Until `sign` gives something true, which it then gives."""
    deadline = time.monotonic() + 180
    while not (found := sign()):
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_two_at_once(command, tmp_path):
    output = tmp_path / "out"
    first, _ = command()
    log = output / "_ocrbatch" / "log"
    wait_for(lambda: log.is_dir() and list(log.glob("*.json")), first)

    second, errors = command()
    waiting, said = command("--wait")
    assert second.wait(timeout=60) == 4
    run_id = json.loads((output / "_ocrbatch" / "lease" / "main.json").read_text())["run_id"]
    message = errors.read_text()
    assert f"run {run_id} on {socket.gethostname()}, pid {first.pid}, since 20" in message
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message)
    assert "--wait" in message

    wait_for(lambda: f"pid {first.pid}" in said.read_text(), waiting)
    wait_for(lambda: any(b'"add"' in path.read_bytes() for path in log.glob("*.json")), first)
    assert len(list(log.glob("*.json"))) >= 2
    assert waiting.poll() is None, "it waits"
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 143
    rest = json.loads(waiting.communicate(timeout=180)[0])
    assert waiting.returncode == 0
    found = rows(output)
    assert len({row["uri"] for row in found}) == len(found) == PAGES
    assert rest["pages"] == sum(row["run_id"] != run_id for row in found), "it read what the first had not"
    assert 0 < rest["pages"] < PAGES
