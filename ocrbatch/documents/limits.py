"""What the child may use: limits per page, and the kernel's limits for the process.

Only the standard library, so that the child starts quickly.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ORPHAN_SIGNAL: Final = signal.SIGUSR2
"""What the kernel sends to the child when the thread that started it ends. Not SIGKILL, so that the parent can tell it
from the kernel's out-of-memory killer and start another child."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_STDERR_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """dpi: of PDF pages. max_pixels: of a PDF page, met by a lower dpi. max_image_pixels: of an image, else a bomb."""

    dpi: float
    max_pixels: int
    max_image_pixels: int


def confine(memory_mb: int, parent: int) -> None:
    """Limits this process for good: memory, files, core dumps, privileges, and its life to that of its parent.

    memory_mb: MiB of address space for the documents, on top of what the interpreter has mapped by now.
    parent: process id of the parent; if it is gone already, this process ends here.
    """
    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, mapped + (memory_mb << 20))
    _lower(resource.RLIMIT_CORE, 0)
    # A decoder has no business writing files; what C libraries print goes to a file in memory.
    _lower(resource.RLIMIT_FSIZE, _STDERR_BYTES)
    # Ctrl-C and a scheduler's SIGTERM go to the whole process group. The parent decides when a child ends: a page in
    # work while the job drains must not become a failure.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(ORPHAN_SIGNAL, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(ORPHAN_SIGNAL), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent is gone")
    # Where the machine runs out of memory, the decoder goes first: it is cheap to replace, a worker with models is not.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (limit, limit))
