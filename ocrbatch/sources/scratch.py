"""A folder on this disk for copies of documents, and the end of those whose process was killed.

Invariant: a folder that a living process holds is never touched. Its lock tells, which ends with the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "ocrbatch-"
LOCK: Final = "lock"


class Scratch:
    """A new folder, `path`, that goes away with this object, or with the next `Scratch` on this machine."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self.path, lock = _locked_folder()
        self._end = weakref.finalize(self, _remove, self.path, lock)

    def close(self) -> None:
        """Removes the folder and what is in it; may be repeated."""
        self._end()


def _locked_folder() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(BlockingIOError):  # another process sweeps it
            lock = _lock(path, os.O_CREAT)
            if (path / LOCK).exists():
                return path, lock
            os.close(lock)  # it has been swept


def _lock(folder: Path, flags: int = 0) -> int:
    """The folder's lock, held until it is closed. Raises BlockingIOError where another process has it, OSError."""
    lock = os.open(folder / LOCK, os.O_RDWR | flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, another user's, or without a lock: somebody else's
            _remove(folder, _lock(folder))


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.close(lock)
