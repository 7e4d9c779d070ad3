"""The blows of a storm: which process each meets, and what it does to it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from places import Place
from ray.cluster_utils import Cluster

HOOK = Path(__file__).with_name("hook")
DECODER = "ocrbatch.documents.child"
SECONDS = 3.0  # of a pause, and of trouble with the storage
NOISE_SHARE = 0.1
CPUS = 2  # of each node, declared
STORE_BYTES = 300 << 20
# Ray notices a dead node after 15 s, asks another for an object that it had after 10 s and then 20, and gives workers
# little more of a busy machine than the plain reader gets: storms would spend a third of their time on that.
SYSTEM = {
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
    "object_manager_pull_timeout_ms": 1000,
    "worker_niceness": 0,
}


class Nodes:
    """A Ray of two nodes on this machine, each with workers of its own."""

    def __init__(self, work: Path) -> None:
        """work: a folder; where the pages that workers read, and all calls that change the storage, are counted."""
        self._count, self._calls = work / "pages-read", work / "calls"
        self._count.touch()
        os.environ |= {
            "OCRBATCH_CHAOS_COUNT": str(self._count),
            "OCRBATCH_CHAOS_CALLS": str(self._calls),
            "PYTHONPATH": str(HOOK),
        }  # of all workers
        self._settings = {"num_cpus": CPUS, "object_store_memory": STORE_BYTES}
        head = {**self._settings, "include_dashboard": False, "_system_config": SYSTEM}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._second = self._cluster.add_node(**self._settings)

    @property
    def pages_read(self) -> int:
        """How many pages workers have begun to read since it started."""
        return self._count.stat().st_size

    def count_calls(self, killed_at: int | None = None, when: str = "before") -> None:
        """Counts calls that change the storage, from 0. killed_at: who makes that one is killed `before` or `after`."""
        kill = self._calls.with_suffix(".kill")
        kill.unlink(missing_ok=True)
        self._calls.write_bytes(b"")
        if killed_at is not None:
            kill.write_text(f"{killed_at} {when}")

    @property
    def calls(self) -> int:
        """How many there have been."""
        return self._calls.stat().st_size

    @property
    def address(self) -> str:
        """Where a run joins it."""
        return str(self._cluster.address)

    def replace_second(self) -> None:
        """Kills the second node, all at once, and gives the cluster another."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._cluster.add_node(**self._settings)

    def stop(self) -> None:
        """Ends both."""
        self._cluster.shutdown()


def strike(what: str, drawn: random.Random, driver: subprocess.Popen[bytes], nodes: Nodes, place: Place) -> str:
    """Does it; gives what it met, or nothing where there was nobody to meet: then try again."""
    match what:
        case "driver":
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            return "driver"
        case "node":
            nodes.replace_second()
            return "node"
        case "storage":
            if place.proxy is None:
                raise ValueError("a disk does not fail for a moment")
            place.break_requests(drawn.randrange(1 << 30), NOISE_SHARE)
            time.sleep(SECONDS)
            place.break_requests(0, 0.0)
            return f"{NOISE_SHARE:.0%} of the requests"
        case "pause":
            met = drawn.choice([psutil.Process(driver.pid), *_workers("MapWorker")])
            return _to(met, signal.SIGSTOP) and _woken(met)
        case _:
            meant = {"worker": _workers(), "actor": _workers("MapWorker"), "decoder": _decoders()}[what]
            known = list(meant) or list(_workers())  # near a run's end all is decoded
            return _to(drawn.choice(sorted(known, key=lambda one: one.pid)), signal.SIGKILL) if known else ""


def _to(process: psutil.Process, number: int) -> str:
    """Sends a signal; gives the receiver's name, as a person knows it, or nothing where it has ended meanwhile."""
    try:
        line = _line(process)
        process.send_signal(number)
    except psutil.Error:
        return ""
    return line.rpartition(":")[2].strip() if line.startswith("ray::") else "decoder" if DECODER in line else "driver"


def _woken(process: psutil.Process) -> str:
    time.sleep(SECONDS)
    return _to(process, signal.SIGCONT)


def _workers(kind: str = "ray::") -> Iterator[psutil.Process]:
    """Ray's workers below this process that have something to do."""
    for process in _family():
        title = _line(process)
        # An agent's end is its raylet's: that is what a killed node is for.
        if title.startswith("ray::") and kind in title and "IDLE" not in title and "Agent" not in title:
            yield process


def _decoders() -> Iterator[psutil.Process]:
    return (process for process in _family() if DECODER in _line(process))


def _family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""
