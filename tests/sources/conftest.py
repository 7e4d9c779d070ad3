"""A storage to read from, and files to read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from ocrbatch.config import StorageConfig
from ocrbatch.storage import Storage


@pytest.fixture
def storage() -> Storage:
    return Storage(StorageConfig())


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Writes a file below tmp_path."""

    def write(name: str, body: bytes = b"x") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
        return path

    return write


@pytest.fixture
def put_memory() -> Callable[[str, bytes], str]:
    """Writes an object of the scheme memory://, which stands for every one that isn't this disk."""

    def write(uri: str, body: bytes = b"x") -> str:
        fsspec.filesystem("memory").pipe_file(uri, body)
        return uri

    return write
