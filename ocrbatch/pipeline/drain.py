"""Results out of Ray as they come, in the driver; and its errors in our words."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable
from typing import Final

from ray.data import Dataset
from ray.exceptions import RayActorError

from ocrbatch import errors
from ocrbatch.errors import OcrBatchError, StoppedEarlyError, ending
from ocrbatch.pipeline.interrupts import insist
from ocrbatch.stages.write import Written

POLL_SECONDS: Final = 0.25
"""Longest wait for a result before the caller gets to look at its clocks."""
END_SECONDS: Final = 2.0
"""Longest wait for Ray Data's threads after the last result. They take milliseconds."""
AGAIN: Final = "What was committed is kept: run the same command again."
START_SECONDS: Final = 0.01
"""Until a thread that is just being started is looked at again."""
ENDLESS: Final = "Prefetcher"
"""The thread of Ray Data's that stays, asleep."""


def drained(dataset: Dataset, *, stops: bool) -> Generator[Written | None]:
    """Results of the write tasks, None where none came for a moment.

    A thread of its own takes them from Ray, because those still in Ray's queue when a later task fails are lost.
    Raises the error that ended the job, after all results before it. stops: once this is closed, Ray Data ends the job
    with the next result. Not for a Ray that is itself ended then: the two at once end the process.
    """
    results: queue.SimpleQueue[Written | BaseException | None] = queue.SimpleQueue()
    closed = threading.Event()

    def drain() -> None:
        try:
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for written in Written.decode(table):
                    results.put(written)
                if stops and closed.is_set():
                    break
        except BaseException as error:  # noqa: BLE001  # handed over, and raised in the main thread
            results.put(error)
        else:
            results.put(None)

    others = set(threading.enumerate())
    threading.Thread(target=drain, name="drain", daemon=True).start()
    try:
        while True:
            insist()
            try:
                result = results.get(timeout=POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if result is None or isinstance(result, BaseException):
                _wait_for(set(threading.enumerate()) - others)
            if result is None:
                return
            if isinstance(result, BaseException):
                raise explained(result)
            yield result
    finally:
        closed.set()


def _wait_for(threads: Iterable[threading.Thread]) -> None:
    """Until they have let go of what they had from Ray: at once with Ray's own end, that may abort the process."""
    until = time.monotonic() + END_SECONDS
    for thread in threads:
        if thread.name != ENDLESS and _can_be_joined(thread):
            _join(thread, until)


def _can_be_joined(thread: threading.Thread) -> bool:
    """Not this one, nor one that Python did not start: Ray's core has such, and calls Python in them."""
    return thread is not threading.current_thread() and not isinstance(thread, threading._DummyThread)


def _join(thread: threading.Thread, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        try:
            return thread.join(left)
        except RuntimeError:  # it is just being started
            time.sleep(START_SECONDS)


def explained(error: BaseException) -> BaseException:
    """The cause of a failed Ray job: our own error where there is one behind it, else one that says how to go on."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OcrBatchError):
            return seen
        cause = getattr(seen, "cause", None)
        seen = cause if isinstance(cause, BaseException) else seen.__cause__
    if getattr(error, "actor_init_failed", False):
        return _of_a_set_up(str(error))
    last = (str(error).strip().splitlines() or [""])[-1]
    if isinstance(error, RayActorError):  # the run survives those, as long as `patience` lasts
        return StoppedEarlyError(
            f"the workers die, one after the other, and too few batches come home: {last[:500]}",
            "Look at the nodes' memory, pipeline.worker_memory_mb and engine.timeout, then run the same command again; "
            "to read on all the same, and get a failure for each page that no worker survives, set "
            "pipeline.max_error_rate above 1.",
        )
    return StoppedEarlyError(
        f"the Ray job failed: {type(error).__name__}: {last[:500]}",
        AGAIN,
    )


def _of_a_set_up(told: str) -> OcrBatchError:
    """The error that a worker's constructor ended with, of which Ray hands on no more than the traceback's text."""
    said = told.rpartition("\nocrbatch.errors.")[2].strip()
    name, _, rest = said.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, OcrBatchError):
        message, _, remedy = rest.partition("\n-> ")
        return ending(kind.exit_code)(message, remedy or AGAIN)
    return StoppedEarlyError(f"a worker could not be set up: {said.splitlines()[-1][:500]}", AGAIN)
