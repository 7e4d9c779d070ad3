"""A file in storage that is read by ranges, for readers that want to seek.

Invariant: nothing is copied to this disk, and no more is held than one block.
"""

from __future__ import annotations

import io
from typing import Any, Final

from ocrbatch.errors import StorageError
from ocrbatch.storage.store import Storage, require_version
from ocrbatch.storage.uris import Entry, local_path, redact

# What one request asks for: large enough that reading on is fast (8 requests of 4 MiB a second are 32 MiB/s on one
# connection), small enough that the header of one member isn't dear.
BLOCK_BYTES: Final = 4 << 20


def open_file(entry: Entry, storage: Storage) -> io.BufferedReader:
    """The file itself where it is on this disk, else a buffered `RangeFile` of the entry's version.

    Raises StorageError, OSError.
    """
    path = local_path(entry.uri)
    if path is not None:
        return path.open("rb")
    size = entry.size if entry.size is not None else storage.stat(entry.uri).size
    return io.BufferedReader(RangeFile(storage, entry.uri, size or 0, entry.etag), BLOCK_BYTES)


class RangeFile(io.RawIOBase):
    """A file in storage that is read by ranges; wrap it in a BufferedReader. size: bytes.

    etag: of the version that is wanted, where it matters: reading raises DocumentError FETCH_CHANGED once another one
    is in its place.
    """

    def __init__(self, storage: Storage, uri: str, size: int, etag: str | None = None) -> None:
        super().__init__()
        self._storage, self._uri, self._size, self._etag, self._at = storage, uri, size, etag, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a byte; no request is made."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("seek before the start of the file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """The current byte."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """One request for as much as fits. Raises StorageError."""
        found = self._take(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def readall(self) -> bytes:
        """One request for the rest, where the default would ask for 8 kB at a time. Raises StorageError."""
        return self._take(self._size)

    def _take(self, size: int) -> bytes:
        end = min(self._at + size, self._size)
        if end <= self._at:
            return b""
        if self._etag is None:
            found = self._storage.read(self._uri, self._at, end)
        else:
            found = self._storage.read_version(self._uri, self._at, end, self._etag)
        if len(found) != end - self._at:
            if self._etag is not None:  # a shorter version answers a range behind its end without an etag
                require_version(self._uri, self._storage.stat(self._uri).etag, self._etag)
            message = f"{redact(self._uri)}: {len(found)} bytes came where {end - self._at} were asked for"
            raise StorageError(message, "It may have been replaced while it was read: run again.")
        self._at = end
        return found
