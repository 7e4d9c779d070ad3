"""Fractions of GPUs, on nodes that only say they have some: model workers get what was asked for, where it is."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("declared_gpus.py")
pytestmark = pytest.mark.ray


def run(folder, nodes, *overrides):
    command = [sys.executable, str(PROGRAM), str(folder), json.dumps(nodes), *overrides]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=250, check=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def test_pools_share_gpus_by_whole_fractions_and_none_lies_across_two(tmp_path):
    found = run(tmp_path, [[6, 2]])
    assert (found["exit_code"], found["pages"]) == (0, 24)
    assert Counter(worker["stage"] for worker in found["workers"]) == {"DetectStage": 4, "RecognizeStage": 4}
    assert {worker["gpu"] for worker in found["workers"]} == {0.25}
    assert all(len(worker["gpus"]) == 1 for worker in found["workers"])
    assert Counter(worker["gpus"][0] for worker in found["workers"]) == {"0": 4, "1": 4}


def test_all_workers_find_room_where_the_gpus_are_though_another_node_has_cpus(tmp_path):
    found = run(tmp_path, [[2, 0], [3, 1]], "pipeline.gpus_per_worker=0.25")
    assert (found["exit_code"], found["pages"]) == (0, 24)
    assert Counter(worker["stage"] for worker in found["workers"]) == {"DetectStage": 2, "RecognizeStage": 2}
    assert len({worker["node"] for worker in found["workers"]}) == 1
