"""Two real commands on one output: the second one names the first and stops, or waits and does the rest."""

import json
import re
import signal
import socket

import pytest
from command import FAKE, PAGES, commits, log
from dataset import rows
from waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.timeout(400)]


def test_two_at_once(command, pages, tmp_path):
    first = command(pages, tmp_path)
    until(lambda: log(tmp_path), alive=first)

    second = command(pages, tmp_path)
    waiting = command(pages, tmp_path, "--wait", "--json", settings=FAKE)
    assert second.wait(timeout=60) == 4
    run_id = json.loads((tmp_path / "_ocrbatch" / "lease" / "main.json").read_text())["run_id"]
    assert f"run {run_id} on {socket.gethostname()}, pid {first.pid}, since 20" in second.said
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", second.said)
    assert "--wait" in second.said

    until(lambda: f"pid {first.pid}" in waiting.said, alive=waiting)
    until(lambda: commits(log(tmp_path)), alive=first)
    assert waiting.poll() is None, "it waits"
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=60) == 143
    assert waiting.wait(timeout=180) == 0, waiting.said
    found = rows(tmp_path)
    assert len({row["uri"] for row in found}) == len(found) == PAGES
    read = json.loads(waiting.printed.read_text())["pages"]
    assert read == sum(row["run_id"] != run_id for row in found), "it read what the first had not"
    assert 0 < read < PAGES
