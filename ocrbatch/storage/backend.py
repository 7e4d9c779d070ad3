"""What each kind of storage does for `Storage`: one request a method, its errors raw.

Invariant: no repetition and no translation of errors in here or in an implementation; `store` does both, by one policy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ocrbatch.storage.uris import Entry

# Runs one request, repeats it as configured, and raises the backend's own error: for methods that make many requests.
Retry = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is being read. chunks: about 1 MiB each; closing them drops the connection.

    size, etag: as announced, None where the scheme doesn't tell.
    """

    chunks: Generator[bytes]
    size: int | None = None
    etag: str | None = None


class Backend(Protocol):
    """Disk, S3, or any other fsspec file system. Ranges are slices: start may be negative where end is None."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its methods raise."""

    def stat(self, uri: str) -> Entry:
        """Size, time and etag of a file; FileNotFoundError for a folder's name."""

    def walk(self, uri: str, retry: Retry) -> Iterable[Entry]:
        """Every file at or below the URI, each once; nothing where there is nothing."""

    def find(self, prefix: str, folders: re.Pattern[str], retry: Retry) -> Iterable[Entry]:
        """Every file whose URI starts so, or more, each once; folders that don't match `folders` may be missed."""

    def names_after(self, folder: str, name: str, retry: Retry) -> Iterable[str]:
        """The names in a folder that sort after `name`; nothing where there is no folder."""

    def read(self, uri: str, start: int | None, end: int | None) -> bytes:
        """Bytes [start, end) of a file."""

    def open(self, uri: str, deadline: float | None) -> Opened:
        """Begins to read a file. deadline: of time.monotonic()."""

    def put(self, uri: str, body: bytes) -> None:
        """Write or replace an object at once."""

    def create(self, uri: str, body: bytes) -> None:
        """Write an object whose name is free; `is_in_doubt` of the error where it may not be."""

    def delete(self, uri: str) -> None:
        """Remove an object; whether a missing one is an error differs."""


class Remote(Backend, Protocol):
    """A backend that isn't this disk."""

    def read_version(self, uri: str, start: int, end: int) -> tuple[bytes, str | None]:
        """`read`, with the etag of the file that these bytes are of; None where the scheme doesn't tell."""
