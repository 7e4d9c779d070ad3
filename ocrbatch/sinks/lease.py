"""Who may open a shard of an output now: `_ocrbatch/lease/{shard}.json`, renewed every 15 s, silent after 60.

The lease only decides when to OPEN. Nothing breaks when two writers hold it at once, or when clocks disagree: the log
lets one of them go on (see `commit`). So it may be as simple as a file that is read and overwritten.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from ocrbatch.errors import NotFoundError, OutputLockedError, StorageError
from ocrbatch.sinks.layout import lease_path
from ocrbatch.storage import Storage, join

log = logging.getLogger(__name__)

EXPIRY: Final = 60.0
RENEWAL: Final = 15.0
_POLL: Final = 1.0
_PIDS: Final = 1 << 31  # what a system call takes


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, so described that another one on the same machine can tell whether it still lives.

    boot: the kernel's id of its start; namespace: of process ids (containers share host names and kernels, not
    these); started: in clock ticks since boot, so that a reused pid is seen. All three are '' where there is no
    /proc.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            namespace = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            boot = namespace = ""
        return cls(socket.gethostname(), boot, namespace, os.getpid(), _started(os.getpid()))

    def is_beside(self, here: Holder) -> bool:
        """True where both are on one machine, since its last start, and see each other's process ids."""
        return (self.host, self.boot, self.namespace) == (here.host, here.boot, here.namespace)

    def died(self, here: Holder) -> bool:
        """True where it ran beside `here` and is gone; False also where that can't be known."""
        if not self.is_beside(here):
            return False
        hidden = False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            hidden = True  # another user's, whose /proc entry may be out of sight
        started = _started(self.pid)
        return started != self.started and bool(started or not hidden)


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field is the program's name in parentheses and may hold anything; the start is the 22nd.
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


@dataclass(frozen=True, slots=True)
class _Claim:
    """The lease's file. token: a random name of the one who took it. Times are seconds since 1970."""

    token: str
    run_id: str
    holder: Holder
    since: float
    renewed: float

    def encode(self) -> bytes:
        return json.dumps({"v": 1, **asdict(self), "expires": self.renewed + EXPIRY}, indent=1).encode()

    @classmethod
    def decode(cls, body: bytes) -> _Claim | None:
        """None for what is no lease: then nobody can be waited for."""
        try:
            tree = json.loads(body)
            holder = Holder(**tree["holder"])
            claim = cls(tree["token"], tree["run_id"], holder, float(tree["since"]), float(tree["renewed"]))
            for seconds in (claim.since, claim.renewed):
                _date(seconds)
        except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
            return None
        return claim if type(holder.pid) is int and 0 < holder.pid < _PIDS else None

    def __str__(self) -> str:
        return f"run {self.run_id} on {self.holder.host}, pid {self.holder.pid}, since {_date(self.since)}"


def _date(seconds: float) -> str:
    """Raises ValueError, OverflowError or OSError for what is no time: NaN, infinity, a year beyond 9999."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")


class Lease:
    """A lease that this process holds; a thread renews it until `release`."""

    def __init__(self, storage: Storage, uri: str, claim: _Claim, now: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._uri = uri
        self._claim = claim
        self._now = now
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_on, name="ocrbatch-lease", daemon=True)
        self._thread.start()

    def renew(self) -> bool:
        """Says that the holder lives. False where somebody else took the lease, which is then left alone."""
        current = _read(self._storage, self._uri)
        if current is None or current.token != self._claim.token:
            return False
        self._storage.put(self._uri, replace(self._claim, renewed=self._now()).encode())
        return True

    def release(self) -> None:
        """Gives the lease back. Failing is no harm, since it expires, so it is logged and no more."""
        self._ended.set()
        self._thread.join(timeout=5)  # it may hang in a call to a storage that is down
        try:
            current = _read(self._storage, self._uri)
            if current is not None and current.token == self._claim.token:
                self._storage.delete(self._uri)
        except StorageError as error:
            log.warning("the lease could not be given back and will expire by itself: %s", error)

    def _renew_on(self) -> None:
        while not self._ended.wait(RENEWAL):
            try:
                if not self.renew():
                    log.warning("another run took the lease of this output")
                    return
            except StorageError as error:
                log.warning("the lease could not be renewed, trying again: %s", error)


def _read(storage: Storage, uri: str) -> _Claim | None:
    try:
        return _Claim.decode(storage.read(uri))
    except NotFoundError:
        return None


def acquire(
    storage: Storage,
    output: str,
    run_id: str,
    *,
    shard: str = "main",
    wait: bool = False,
    notify: Callable[[str], None] = log.warning,
    here: Holder | None = None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Takes the lease: at once where nobody has it or its holder died on this machine.

    A holder that has been silent for EXPIRY counts as dead wherever it is. Elsewhere, a lease that has not expired is
    watched until it does, which `notify` says; if it is renewed meanwhile, the holder lives.

    wait: for a living holder to end. here, now, sleep: who and when, for tests.

    Raises OutputLockedError that names the living holder.
    """
    uri = join(output, lease_path(shard))
    me = here or Holder.here()
    watched: _Claim | None = None
    deadline = 0.0
    while True:
        current = _read(storage, uri)
        if current is not None and current != watched:
            if watched is not None and not wait:
                raise _locked(output, current)
            # Its clock may be ahead of ours: never longer than EXPIRY from now.
            deadline = min(current.renewed, now()) + EXPIRY
        if current is None or current.holder.died(me) or now() >= deadline:
            claim = _Claim(uuid4().hex, run_id, me, now(), now())
            storage.put(uri, claim.encode())
            # Two who found it free both wrote; the file tells which one stays.
            written = _read(storage, uri)
            if written is not None and written.token == claim.token:
                return Lease(storage, uri, claim, now)
            continue
        if current.holder.is_beside(me) and not wait:
            raise _locked(output, current)
        if watched is None:
            notify(
                f"the output is held by {current}; waiting for its end"
                if wait
                else f"the output is held by {current}, which may be dead: "
                f"waiting {deadline - now():.0f} s for a sign of life"
            )
        watched = current
        sleep(_POLL)


def _locked(output: str, claim: _Claim) -> OutputLockedError:
    return OutputLockedError(
        f"{output} is being written by {claim}",
        "Let that run end, or add --wait to start when it has; a run that died is replaced within a minute.",
    )
