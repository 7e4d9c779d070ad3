"""The end of a worker that takes too long or too much: nothing else stops native code."""

from __future__ import annotations

import faulthandler
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ocrbatch.errors import StoppedEarlyError, UsageError

LOOK_SECONDS: Final = 0.2
STARTS: Final = 3


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Ends this process, its threads' places on standard error, when the body takes longer.

    Not reentrant: a process has one such clock. It is C code that needs no lock of Python's.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def set_up() -> Iterator[None]:
    """For a worker's set-up: fails where the worker has died in it some times before, for Ray starts it for ever.

    Raises StoppedEarlyError then, on the node where it died STARTS times.
    """
    marks = _marks()
    if marks is None:
        yield
        return
    died = marks.stat().st_size if marks.exists() else 0
    if died >= STARTS:
        marks.unlink()
        raise StoppedEarlyError(
            f"a worker was killed {died} times while it loaded its models, most likely for want of memory",
            "Give the workers' machines or containers more memory, or start fewer workers (pipeline.readers, "
            "pipeline.detectors, pipeline.recognizers), then run the same command again.",
        )
    with marks.open("ab") as file:
        file.write(b"x")
    try:
        yield
    finally:
        marks.unlink(missing_ok=True)


def _marks() -> Path | None:
    """A file that this worker finds again on the same node after its process was killed; None outside of Ray."""
    import ray

    worker = ray.get_runtime_context().get_actor_id() if ray.is_initialized() else None
    return Path(tempfile.gettempdir()) / f"ocrbatch-{worker}.starts" if worker else None


def bounded(memory_mb: int | None) -> None:
    """From now on this process ends as soon as it holds more memory of its own, in MiB. None: as much as it likes.

    Pages that it shares, of files and of Ray's object store, are not counted. To be called once the worker is set up:
    raises UsageError where it holds more already, for one that ended itself then would be started again for ever.
    """
    if memory_mb is not None:
        if (held := _held() >> 20) > memory_mb:
            raise UsageError(
                f"pipeline.worker_memory_mb={memory_mb} is less than the {held} MiB that a worker holds before its "
                "first page",
                f"Give it {2 * held} or more.",
            )
        threading.Thread(target=_watch, args=(memory_mb << 20,), name="memory", daemon=True).start()


def _watch(limit: int) -> None:
    while _held() <= limit:
        time.sleep(LOOK_SECONDS)
    os.write(2, f"ocrbatch: a worker held more than {limit >> 20} MiB and was ended\n".encode())
    os._exit(1)


def _held() -> int:
    """Bytes of this process that are in memory and that no other shares."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
