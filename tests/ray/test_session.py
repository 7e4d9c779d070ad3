"""Ray around a run: who is asked what it would compute with, and the end of workers that were left behind."""

import os
import time

import pytest
import ray

from ocrbatch.config import load
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.resources import Cluster
from ocrbatch.pipeline.session import end_workers, identified, stays_here, worker_options
from ocrbatch.stages.identity import identify

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]


def test_a_worker_elsewhere_is_asked_for_its_identity():
    config = load("", ["engine.name=onnxruntime"])
    assert identified(config, Cluster(2, elsewhere=True)) == identify(config) == identified(config, Cluster(2))


def test_a_worker_that_lacks_something_says_so_in_our_words():
    with pytest.raises(UsageError, match="PP-OCRv9_det"):
        identified(load("", ["detection.model_name=PP-OCRv9_det"]), Cluster(2, elsewhere=True))


def test_whose_workers_are_here(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.9.8.7:6379")
    assert stays_here(load("", []).pipeline), "a Ray that this process is in goes before an address"


def test_what_a_pass_left_behind_is_ended_and_nobody_else():
    class Worker:  # in here, so that it travels by value
        def pid(self) -> int:
            return os.getpid()

    stuck = ray.remote(num_cpus=0.1, max_restarts=-1)(Worker).options(**worker_options("run-1")).remote()
    other = ray.remote(num_cpus=0.1, max_restarts=-1)(Worker).options(**worker_options("run-2")).remote()
    ray.get([stuck.pid.remote(), other.pid.remote()])
    end_workers("run-1")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            ray.get(stuck.pid.remote())
        except ray.exceptions.RayActorError:
            break
    else:
        pytest.fail("the worker lives on")
    assert ray.get(other.pid.remote())
    end_workers("run-2")
