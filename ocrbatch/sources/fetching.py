"""Brings one document's bytes to a local file, so that a decoder in another process can open it.

Invariant: whatever is wrong with one document becomes a DocumentError of stage `fetch`, and only a file that is whole
is handed out. A file on this disk is handed out itself and never copied, changed or deleted. Wrong credentials and a
full disk are no document's fault: they end the run.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from ocrbatch.config import DocumentsConfig
from ocrbatch.errors import (
    AccessDeniedError,
    CredentialsError,
    DiskFullError,
    DocumentError,
    NotFoundError,
    StorageError,
)
from ocrbatch.records import Document
from ocrbatch.sources import archives, members
from ocrbatch.storage import Storage, local_path, redact, require_version
from ocrbatch.storage.uris import local_uri

_CHUNK_BYTES: Final = 1 << 20
_OPEN_ARCHIVES: Final = 2


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A document on this disk. is_copy: whether it was made for the one who asked, who then has to `discard` it."""

    path: Path
    is_copy: bool

    def discard(self) -> None:
        """Deletes the copy; an original stays."""
        if self.is_copy:
            self.path.unlink(missing_ok=True)


@contextmanager
def fetched(
    document: Document, storage: Storage, folder: Path, limits: DocumentsConfig, bytes_column: str | None = None
) -> Iterator[Path]:
    """`fetch` for the length of a `with`: the path; a copy is discarded at its end."""
    file = fetch(document, storage, folder, limits, bytes_column)
    try:
        yield file.path
    finally:
        file.discard()


def fetch(
    document: Document, storage: Storage, folder: Path, limits: DocumentsConfig, bytes_column: str | None = None
) -> LocalFile:
    """A local file with the document's bytes: the original where it is on this disk, else a new file in `folder`.

    A member of an archive is read straight out of it, by ranges; the two archives that were used last stay open, so
    members that come in their order cost one pass. bytes_column is input.bytes_column: with it a Parquet file that
    could not be listed says why. Safe to call from several threads; members of one archive are read one at a time.

    Raises DocumentError: FETCH_NOT_FOUND, FETCH_DENIED, FETCH_FAILED, FETCH_CHANGED, FETCH_TIMEOUT (after
    limits.fetch_timeout seconds), FILE_TOO_LARGE (over limits.max_bytes, unpacked), ARCHIVE_BROKEN. Raises
    CredentialsError, DiskFullError.
    """
    target = folder / f"fetched-{uuid.uuid4().hex}"
    try:
        return _fetch(document, storage, target, limits, bytes_column)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, StorageError) and not isinstance(error, CredentialsError | DiskFullError):
            raise _failure(document, error) from error
        raise


def require_same(document: Document, file: LocalFile, storage: Storage) -> None:
    """Raises DocumentError FETCH_CHANGED where an original was replaced since it was handed out; a copy can't be."""
    if not file.is_copy:
        with suppress(NotFoundError):  # deleted: what was read of it was still the old one
            require_version(document.uri, storage.stat(document.uri).etag, document.etag)


def _fetch(
    document: Document, storage: Storage, target: Path, limits: DocumentsConfig, bytes_column: str | None
) -> LocalFile:
    local = local_path(document.uri)
    archive, member = members.split_member(document.uri)
    # In a folder that is called `scans.zip!`? Never a member's name with `..` in it, which would lead elsewhere.
    if member is not None and local is not None and local_uri(str(local)) == document.uri and local.is_file():
        archive, member = document.uri, None
    is_member = member is not None and document.etag
    if members.is_container(archive) and not is_member:
        raise _unlisted(document, archive, storage, bytes_column)
    if document.size is not None and document.size > limits.max_bytes:
        raise _too_large(document, document.size, limits)
    if is_member:
        _extract(document, archive, storage, target, limits)
    elif local is not None:
        return _original(document, local, storage, limits)
    else:
        storage.fetch(document.uri, target, limits.max_bytes, limits.fetch_timeout, document.etag)
    return LocalFile(target, is_copy=True)


def _failure(document: Document, error: StorageError) -> DocumentError:
    code = "FETCH_FAILED"
    if isinstance(error, NotFoundError):
        code = "FETCH_NOT_FOUND"
    elif isinstance(error, AccessDeniedError):
        code = "FETCH_DENIED"
    return DocumentError(code, str(error) or f"{redact(document.uri)}: {type(error).__name__}")


def _too_large(document: Document, size: int, limits: DocumentsConfig) -> DocumentError:
    return DocumentError(
        "FILE_TOO_LARGE", f"{redact(document.uri)} has {size:,} bytes; documents.max_bytes is {limits.max_bytes:,}"
    )


def _original(document: Document, path: Path, storage: Storage, limits: DocumentsConfig) -> LocalFile:
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DocumentError("FETCH_NOT_FOUND", f"{redact(document.uri)} does not exist") from error
    except OSError as error:
        raise DocumentError("FETCH_DENIED", f"{redact(document.uri)}: {error.strerror}") from error
    if not path.is_file():
        raise DocumentError(
            "FETCH_NOT_FOUND", f"{redact(document.uri)} is no file", "Name files, or folders by input.uris."
        )
    if not os.access(path, os.R_OK):
        raise DocumentError(
            "FETCH_DENIED", f"{redact(document.uri)} may not be read", "Give this user the right to read the file."
        )
    if size > limits.max_bytes:
        raise _too_large(document, size, limits)
    require_version(document.uri, storage.stat(document.uri).etag, document.etag)
    return LocalFile(path, is_copy=False)


def _unlisted(document: Document, archive: str, storage: Storage, bytes_column: str | None) -> DocumentError:
    """Why an archive stands in the list instead of its members, or a member without its place: looked at again."""
    try:
        names = {m.name for m in archives.list_members(storage.stat(archive), storage, bytes_column)}
    except DocumentError as error:
        return error
    member = members.split_member(document.uri)[1]
    if member is not None and member not in names:
        return DocumentError("FETCH_NOT_FOUND", f"{redact(archive)} has no member {member}")
    return DocumentError(
        "FETCH_FAILED", f"{redact(document.uri)} could not be listed before, but can now", "Run again."
    )


class _Opened:
    """An archive in the cache; `lock` is held while it is read."""

    def __init__(self, archive: members.Archive) -> None:
        self.archive, self.lock, self.closed = archive, threading.Lock(), False

    def close(self) -> None:
        with self.lock:
            self.closed = True
            with suppress(*archives.BROKEN):
                self.archive.close()


_cache: OrderedDict[tuple[str, str], _Opened] = OrderedDict()
_cache_lock = threading.Lock()


def _opened(uri: str, etag: str, storage: Storage) -> _Opened:
    with _cache_lock:
        if (found := _cache.get((uri, etag))) is not None:
            _cache.move_to_end((uri, etag))
            return found
    entry = storage.stat(uri)
    require_version(uri, entry.etag, etag)
    fresh, out = _Opened(archives.open_archive(entry, storage)), []
    with _cache_lock:
        found = _cache.setdefault((uri, etag), fresh)
        if found is not fresh:
            out.append(fresh)  # another thread was first
        while len(_cache) > _OPEN_ARCHIVES:
            out.append(_cache.popitem(last=False)[1])
    for old in out:
        old.close()
    return found


def _forget(uri: str, etag: str) -> None:
    with _cache_lock:
        opened = _cache.pop((uri, etag), None)
    if opened is not None:
        opened.close()


def _extract(document: Document, uri: str, storage: Storage, target: Path, limits: DocumentsConfig) -> None:
    etag, place = members.split_etag(document.etag)
    try:
        try:
            _unpack(document, uri, etag, place, storage, target, limits)
        except archives.BROKEN as error:
            _require_unchanged(uri, etag, storage)  # two versions mixed look like damage
            raise archives.broken(document.uri, error) from error
        _require_unchanged(uri, etag, storage)
    except DocumentError as error:
        if error.code.code == "FETCH_CHANGED":
            _forget(uri, etag)  # so that the next member costs a look at the archive, and not a block of it
        raise


def _require_unchanged(uri: str, etag: str, storage: Storage) -> None:
    """Raises DocumentError FETCH_CHANGED where an archive on this disk was replaced; else each range's reply tells."""
    if local_path(uri) is not None:
        require_version(uri, storage.stat(uri).etag, etag)


def _unpack(
    document: Document, uri: str, etag: str, place: str, storage: Storage, target: Path, limits: DocumentsConfig
) -> None:
    while True:
        opened = _opened(uri, etag, storage)
        with opened.lock:
            if opened.closed:  # put out of the cache while this thread waited
                continue
            deadline = time.monotonic() + limits.fetch_timeout  # of this member, not of those that were before it
            with opened.archive.open(place) as stream, target.open("xb") as file:
                _copy(document, stream, file, limits, deadline)
            return


def _copy(document: Document, stream: IO[bytes], file: IO[bytes], limits: DocumentsConfig, deadline: float) -> None:
    size = 0
    while chunk := stream.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > limits.max_bytes:
            raise _too_large(document, size, limits)
        if time.monotonic() > deadline:
            raise DocumentError("FETCH_TIMEOUT", f"{redact(document.uri)} took longer than {limits.fetch_timeout:g} s")
        file.write(chunk)
    if document.size is not None and size != document.size:
        raise ValueError(f"{size:,} bytes came where {document.size:,} were promised")
