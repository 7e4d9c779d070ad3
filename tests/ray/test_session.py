"""Ray around a run: who is asked what it would compute with, and the end of workers that were left behind."""

import copy
import logging
import os

import pytest
import ray
from ray.data import DataContext
from waiting import until

from ocrbatch.config import load
from ocrbatch.errors import UsageError
from ocrbatch.pipeline import session
from ocrbatch.pipeline.resources import Cluster
from ocrbatch.pipeline.session import end_workers, identified, stays_here, worker_options
from ocrbatch.stages.identity import identify

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def nobody_here(monkeypatch):
    """This process can't tell what it would compute with; others can."""
    here = os.getpid()

    def identify_elsewhere(config):  # in here, so that it travels by value
        assert os.getpid() != here, "asked here"
        return identify(config)

    monkeypatch.setattr(session, "identify", identify_elsewhere)


def test_a_worker_elsewhere_is_asked_for_its_identity(nobody_here):
    config = load("", ["engine.name=onnxruntime"])
    assert identified(config, Cluster(2, elsewhere=True)) == identify(config)
    with pytest.raises(AssertionError, match="asked here"):
        identified(config, Cluster(2))


def test_a_worker_that_lacks_something_says_so_in_our_words(nobody_here):
    with pytest.raises(UsageError, match="PP-OCRv9_det"):
        identified(load("", ["detection.model_name=PP-OCRv9_det"]), Cluster(2, elsewhere=True))


def test_whose_workers_are_here(monkeypatch):
    unnamed, named = (load("", [f"pipeline.address={address}"]).pipeline for address in ("null", "10.9.8.7:6379"))
    monkeypatch.setenv("RAY_ADDRESS", "10.9.8.7:6379")
    assert stays_here(unnamed) and stays_here(named), "a Ray that this process is in goes before an address"
    nodes, other = ray.nodes(), {"Alive": True, "NodeID": "other", "Resources": {"CPU": 0}}
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, other])
    assert stays_here(unnamed), "a node without CPUs has no workers"
    other["Resources"]["CPU"] = 1
    assert not stays_here(unnamed) and not stays_here(named)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert not stays_here(unnamed), "the variable has an address"
    monkeypatch.delenv("RAY_ADDRESS")
    assert not stays_here(named)
    assert stays_here(unnamed)


@pytest.mark.parametrize(("asked", "bound"), [("200", 200 << 20), ("null", float("inf"))])
def test_how_much_of_a_joined_cluster_s_memory_a_run_may_fill(asked, bound):
    with session.session(load("", [f"pipeline.object_store_mb={asked}"]).pipeline, "r"):
        limits = DataContext.get_current().execution_options.resource_limits
        assert limits.object_store_memory == bound
        assert limits.cpu == float("inf")
    assert DataContext.get_current().execution_options.resource_limits.object_store_memory == float("inf")


def test_a_joined_process_gets_its_own_settings_back():
    context = DataContext.get_current()
    handlers = logging.getLogger("ray.data").handlers
    before, levels = copy.deepcopy(vars(context)), [handler.level for handler in handlers]
    with pytest.raises(KeyError), session.session(load("", ["pipeline.object_store_mb=200"]).pipeline, "r"):
        assert DataContext.get_current().target_max_block_size == 1
        assert logging.CRITICAL in [handler.level for handler in handlers]
        raise KeyError
    assert DataContext.get_current() is context
    assert vars(context) == before
    assert [handler.level for handler in handlers] == levels


def has_ended(worker):
    try:
        ray.get(worker.pid.remote())
    except ray.exceptions.RayActorError:
        return True
    return False


def test_what_a_pass_left_behind_is_ended_and_nobody_else():
    class Worker:  # in here, so that it travels by value
        def pid(self) -> int:
            return os.getpid()

    stuck = ray.remote(num_cpus=0.1, max_restarts=-1)(Worker).options(**worker_options("run-1")).remote()
    other = ray.remote(num_cpus=0.1, max_restarts=-1)(Worker).options(**worker_options("run-2")).remote()
    ray.get([stuck.pid.remote(), other.pid.remote()])
    end_workers("run-1")
    until(lambda: has_ended(stuck), 30)
    assert ray.get(other.pid.remote())
    end_workers("run-2")
