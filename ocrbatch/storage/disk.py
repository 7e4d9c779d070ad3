"""Files on a disk, by plain system calls: fsync before a name appears, and a name appears at once or not at all.

Invariant: a reader sees no file, or the whole file. A create is a hard link from a finished temporary file: POSIX lets
exactly one succeed, on NFS too. A temporary file that a crash leaves is hidden from listings. The module itself is the
`Backend`: a disk has no state to load.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat as modes
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ocrbatch.errors import StorageError
from ocrbatch.storage.backend import Opened, Retry
from ocrbatch.storage.uris import Entry, local_path, local_uri

log = logging.getLogger(__name__)

errors: tuple[type[Exception], ...] = (OSError,)
CHUNK: Final = 1 << 20
_UNFINISHED: Final = re.compile(r"^\..+\.[0-9a-f]{32}\.tmp$")
_ANY: Final = re.compile("")


def _path(uri: str) -> Path:
    path = local_path(uri)
    if path is None:
        raise ValueError(f"{uri} is no path")
    return path


def _entry(path: str, status: os.stat_result) -> Entry:
    etag = f"{status.st_mtime_ns}-{status.st_size}"
    return Entry(local_uri(path), status.st_size, _time(status.st_mtime), etag)


def _time(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a file system may keep years that no calendar here has
        return None


def _require_file(status: os.stat_result, path: Path) -> None:
    if modes.S_ISDIR(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "a folder has the name", str(path))
    if not modes.S_ISREG(status.st_mode):  # a named pipe would hang whoever opens it
        raise StorageError(f"{path} is a pipe, socket or device", "Name regular files.")


def stat(uri: str) -> Entry:
    """Size, time and etag of a regular file."""
    path = _path(uri)
    status = path.stat()
    _require_file(status, path)
    return _entry(str(path), status)


def walk(uri: str, retry: Retry) -> Iterator[Entry]:
    """Every regular file at or below the path, in byte order; memory is bounded by the largest folder.

    Links to folders are not followed, nor links to files outside: what they name lies elsewhere, or is listed at its
    own place. The path itself may be a link.
    """
    path = _path(uri)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if modes.S_ISDIR(status.st_mode):
        yield from _walk(str(path), os.path.realpath(path), _ANY)
    else:
        _require_file(status, path)
        yield _entry(str(path), status)


def find(prefix: str, folders: re.Pattern[str], retry: Retry) -> Iterator[Entry]:
    """Every file below the last folder that `prefix` names whole, visiting only matching folders."""
    root = prefix[: prefix.rfind("/") + 1]
    if Path(root).is_dir():
        yield from _walk(root.rstrip("/") or "/", os.path.realpath(root), folders)


def names_after(folder: str, name: str, retry: Retry) -> Iterator[str]:
    """The names in a folder that sort after `name`, in no order."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(_path(folder)) as found:
        yield from (item.name for item in found if item.name > name)


def _walk(folder: str, root: str, folders: re.Pattern[str]) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as found:
            # A folder sorts as its name and a slash: so depth first is byte order of paths ("a-b" < "a/c" < "a0").
            items = sorted(
                ((os.fsencode(item.name) + b"/" * item.is_dir(follow_symlinks=False), item) for item in found),
                key=lambda pair: pair[0],
            )
    except (FileNotFoundError, NotADirectoryError):
        if not Path(root).is_dir():
            raise
        return  # it has gone since the folder above it was read
    for _, item in items:
        if item.is_dir(follow_symlinks=False):
            if folders.match(item.path):
                yield from _walk(item.path, root, folders)
        elif not _UNFINISHED.match(item.name) and (status := _status_within(item, root)) is not None:
            yield _entry(item.path, status)


def _status_within(item: os.DirEntry[str], root: str) -> os.stat_result | None:
    """The status of a regular file, or of the one inside `root` that a link leads to."""
    try:
        status = item.stat()
    except FileNotFoundError:  # deleted since the folder was read, or a link to nothing
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    if item.is_symlink() and (
        modes.S_ISDIR(status.st_mode) or os.path.commonpath([os.path.realpath(item.path), root]) != root
    ):
        log.warning("not followed: the link %s leads to a folder or out of %s", item.path, root)
        return None
    return status if modes.S_ISREG(status.st_mode) else None


def read(uri: str, start: int | None, end: int | None) -> bytes:
    """Bytes [start, end) of a file."""
    path = _path(uri)
    _require_file(path.stat(), path)
    with path.open("rb") as file:
        first, last, _ = slice(start, end).indices(os.fstat(file.fileno()).st_size)
        file.seek(first)
        return file.read(max(0, last - first))


def open(uri: str, deadline: float | None) -> Opened:
    """Begins to read a file."""
    path = _path(uri)
    status = path.stat()
    _require_file(status, path)
    return Opened(_chunks(path), status.st_size, _entry(uri, status).etag)


def _chunks(path: Path) -> Generator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def put(uri: str, body: bytes) -> None:
    """Write a file: temporary file, fsync, rename, fsync of the folder."""
    path = _path(uri)
    unfinished = _write_unfinished(path, body)
    try:
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def create(uri: str, body: bytes) -> None:
    """Write a file whose name is free: temporary file, fsync, link, fsync of the folder."""
    path = _path(uri)
    unfinished = _write_unfinished(path, body)
    try:
        link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def link(source: Path, path: Path) -> None:
    """Give a finished file a second name; FileExistsError where the name is taken."""
    _make_folders(path.parent)
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise StorageError(
                f"can't create {path}: its file system has no hard links, so a name can't be taken exclusively",
                "Write the output to a POSIX file system (ext4, xfs, NFS ...) or to S3.",
            ) from None
        raise
    finally:
        _sync_folder(path.parent)  # after a refusal too: the name that a winner took must not vanish with the power


def _write_unfinished(path: Path, body: bytes) -> Path:
    _make_folders(path.parent)
    # A long name is cut so that it stays within the file system's 255 bytes with what is added.
    unfinished = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return unfinished


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems can't, and needn't
            raise
    finally:
        os.close(descriptor)


def delete(uri: str) -> None:
    """Remove a file; FileNotFoundError where there is none."""
    _path(uri).unlink()


def tidy(uri: str, older_than: float) -> None:
    """Remove what interrupted writes left below a folder, and folders without files, both unchanged for so long.

    older_than: seconds. A writer that slept as long meets FileNotFoundError: what it writes is absent, not half there.
    """
    root, limit = str(_path(uri)), time.time() - older_than
    for folder, _, names in os.walk(root, topdown=False):
        # Its time is taken before it is changed here; what can't be removed is left to the next one.
        with suppress(OSError):
            old = Path(folder).stat().st_mtime < limit
            for name in filter(_UNFINISHED.match, names):
                path = Path(folder, name)
                with suppress(OSError):
                    if path.stat().st_mtime < limit:
                        path.unlink()
            if old and folder != root:
                os.rmdir(folder)  # noqa: PTH106 - refused where anything is in it
