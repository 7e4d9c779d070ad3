"""A small run's storage work in a process of its own, which is killed or stopped at its n-th mutating step.

A step is a call of `Storage`, or on a disk also a system call: between two of them lies every state that a crash can
leave.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import psutil
from sinks_model import MUTATIONS, job
from waiting import until

from ocrbatch.config import OutputConfig, StorageConfig
from ocrbatch.errors import OutputLockedError
from ocrbatch.sinks import bookmark
from ocrbatch.sinks import lease as leases
from ocrbatch.sinks.commit import Committer
from ocrbatch.storage import Storage

SYSTEM_CALLS = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")

# Children are forked from a server that has imported everything and holds no thread: 0.1 s of CPU instead of 1.3.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["ocrbatch.sinks.commit", "pyarrow.parquet", "pyarrow.dataset", "pandas", "s3fs"])


@dataclass(frozen=True)
class Stop:
    """Send the own process `signal` at its n-th mutating step, from 0; of kind `call` before or after it, else before.

    kind: `call` of Storage, or `system` call below the output.
    """

    n: int
    signal: signal.Signals
    after: bool = False
    kind: str = "call"


class Steps:
    """Counts mutating steps, and stops where it is told to."""

    def __init__(self, stop: Stop | None) -> None:
        self.stop = stop
        self.count = 0

    def take(self, step: Callable[[], Any]) -> Any:
        here = self.stop is not None and self.count == self.stop.n
        self.count += 1
        if here and self.stop is not None and not self.stop.after:
            os.kill(os.getpid(), self.stop.signal)
        result = step()
        if here and self.stop is not None and self.stop.after:
            os.kill(os.getpid(), self.stop.signal)
        return result

    def watch(self, output: str) -> None:
        """Counts system calls of this process instead, for the rest of its life."""

        def hook(event: str, args: tuple[Any, ...]) -> None:
            writes = event in SYSTEM_CALLS or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and str(args[0]).startswith(output):
                self.take(lambda: None)

        sys.addaudithook(hook)


def stepping(config: StorageConfig, steps: Steps) -> Storage:
    """A storage whose mutating calls are steps; one that another is made of is none."""
    storage, inside = Storage(config), []

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if inside:
                return method(*args, **named)
            inside.append(True)
            try:
                return steps.take(lambda: method(*args, **named))
            finally:
                inside.pop()

        return call

    for name in MUTATIONS:
        setattr(storage, name, watched(getattr(storage, name)))
    return storage


def run(config: StorageConfig, output: str, run_id: str, stop: Stop | None = None, expiry: float = 60.0) -> int:
    """The model's job, with every column. Gives the number of its mutating steps.

    expiry: seconds after which a silent holder of the lease is replaced; it waits for living ones.
    """
    steps = Steps(stop)
    quick = {"EXPIRY": expiry, "RENEWAL": expiry / 4, "_POLL": min(1.0, expiry / 10)}
    if stop is not None and stop.kind == "system":
        storage = Storage(config)
        steps.watch(output)
    else:
        storage = stepping(config, steps)
    with (
        patch.object(bookmark, "EVERY", 3),
        patch.multiple(leases, **quick),
        Committer.open(storage, OutputConfig(uri=output), run_id, wait=True, notify=lambda _: None) as c,
    ):
        job(c, full=True)
    return steps.count


def main(config: StorageConfig, output: str, run_id: str, stop: Stop | None, expiry: float) -> None:
    """The process: it exits with 4 where another writer took over."""
    os.fsync = lambda descriptor: (
        None
    )  # a killed process leaves the kernel's caches alone; it is nine tenths of the time
    try:
        run(config, output, run_id, stop, expiry)
    except OutputLockedError:
        sys.exit(4)


def start(
    config: StorageConfig, output: str, run_id: str, stop: Stop | None = None, expiry: float = 60.0
) -> multiprocessing.process.BaseProcess:
    """The job in a process of its own."""
    process = processes.Process(target=main, args=(config, output, run_id, stop, expiry))
    process.start()
    return process


def exit_code(process: multiprocessing.process.BaseProcess, seconds: float = 60.0) -> int | None:
    """Waits for its end; negative for the signal that ended it."""
    process.join(seconds)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def wait_stopped(process: multiprocessing.process.BaseProcess, seconds: float = 60.0) -> bool:
    """Waits until a signal has stopped it; False where it ended instead."""
    until(lambda: not process.is_alive() or psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, seconds)
    return process.is_alive()
