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
        lock = _lock(path)
        if lock is not None and (path / LOCK).exists():
            return path, lock
        if lock is not None:  # another process swept it before it was locked
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """The folder's lock, held until it is closed; None where another process has it, or the folder is gone."""
    try:
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        # A folder of that name without a lock is somebody else's.
        if (folder / LOCK).exists() and (lock := _lock(folder)) is not None:
            _remove(folder, lock)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.close(lock)
