"""SHA-256 of model files, computed once a process for each (path, mtime, size).

Invariant: a file that changed on disk is read again.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from ocrbatch.errors import ModelError


def sha256(path: Path) -> str:
    """Hex digest of a file. Raises ModelError when it can't be read."""
    try:
        status = path.stat()
        return _digest(str(path), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise ModelError(
            f"can't read the model file {path}: {error.strerror}", "Check the path and its permissions."
        ) from error


def check(path: Path, expected: str, remedy: str) -> None:
    """Compares a file with its pinned digest. Raises ModelError that names the file, both digests and the remedy."""
    found = sha256(path)
    if found != expected:
        raise ModelError(
            f"{path} is not the file that the registry names: its SHA-256 is {found}, not {expected}", remedy
        )


def forget() -> None:
    """Makes the next call read every file again."""
    _digest.cache_clear()


@lru_cache(maxsize=256)
def _digest(path: str, _mtime_ns: int, _size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
