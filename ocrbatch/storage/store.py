"""The Storage class: one side's (input's or output's) way to every place, with its credentials, retries, error texts.

Invariant: a create that ends in doubt (412, 409, EINVAL, EEXIST, a timeout, a lost reply) is settled by reading the
object back, never by guessing.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, TypeVar

from ocrbatch.config import StorageConfig
from ocrbatch.errors import (
    DocumentError,
    NotFoundError,
    OcrBatchError,
    OutputInconsistentError,
    StorageError,
    UsageError,
)
from ocrbatch.storage import disk
from ocrbatch.storage.backend import Backend, Remote
from ocrbatch.storage.faults import ShortBodyError, is_in_doubt, pause, secrets_within, translate, with_retries
from ocrbatch.storage.uris import (
    LOCAL,
    Entry,
    before_magic,
    glob_folders,
    glob_regex,
    has_magic,
    join,
    local_path,
    redact,
    scheme,
)
from ocrbatch.storage.uris import S3 as S3_SCHEMES

T = TypeVar("T")


class Storage:
    """Reads and writes objects by full URI: a path of this disk, `s3://bucket/key`, or any fsspec scheme (read only).

    Two instances never share a connection or a credential. Threads may share one. It pickles as its config, and opens
    its connections at their first use, in each process anew.

    Every method raises NotFoundError, AccessDeniedError, or another StorageError after `config.retries` repetitions, or
    UsageError for a scheme that can't be used. Messages hold no credentials and no query strings.
    """

    def __init__(self, config: StorageConfig | None = None) -> None:
        self.config = config or StorageConfig()
        self._lock = threading.Lock()
        self._opened: dict[str, Remote] = {}
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Storage], tuple[StorageConfig]]:
        return Storage, (self.config,)

    def list(self, uri: str) -> Iterator[Entry]:
        """Every file at or below `uri`, each once, as they come; nothing at all is no error.

        The order is the storage's own and the same each time: that of the URIs' bytes on this disk and on most S3
        servers, some go folder by folder. Nothing is held back, so the first file comes with the first answer.

        A file's URI lists the file, a folder's what lies below it, hidden names included (`s3://b/in` never lists
        `s3://b/input2/x`). A URI with glob characters that names nothing literally lists what the glob matches,
        matching folders with all they hold. Paths of this disk come out absolute.
        """
        backend = self._backend(uri)
        retry = partial(with_retries, retries=self._retries(uri))
        literal = self._guarded(lambda: backend.walk(uri, retry), backend, uri)
        first = next(literal, None)
        if first is not None or not has_magic(uri):
            return chain([] if first is None else [first], literal)
        whole = _normal(uri).rstrip("/")
        matching, folders, prefix = glob_regex(whole, whole_folders=True), glob_folders(whole), before_magic(whole)
        found = self._guarded(lambda: backend.find(prefix, folders, retry), backend, uri)
        return (entry for entry in found if matching.match(entry.uri))

    def names_after(self, folder: str, name: str) -> Iterator[str]:
        """The names of a flat folder's files that sort after `name`: however many are before, it is quick."""
        backend = self._backend(folder)
        retry = partial(with_retries, retries=self._retries(folder))
        return self._guarded(lambda: backend.names_after(folder, name, retry), backend, folder)

    def stat(self, uri: str) -> Entry:
        """Size, time and etag of one file. NotFoundError for a folder too."""
        backend = self._backend(uri)
        return self._call(lambda: backend.stat(uri), uri, "look up")

    def exists(self, uri: str) -> bool:
        """Whether there is a file or object of this name (a folder is none)."""
        try:
            self.stat(uri)
        except NotFoundError:
            return False
        return True

    def read(self, uri: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes [start, end) of a file, all by default; a negative start, with no end, counts from the file's end."""
        if (end is not None and end < 0) or (end is not None and start is not None and start < 0):
            raise ValueError("only a start without an end may be negative")
        backend = self._backend(uri)
        return self._call(lambda: backend.read(uri, start, end), uri, "read")

    def read_version(self, uri: str, start: int, end: int, etag: str) -> bytes:
        """`read`; raises DocumentError FETCH_CHANGED where the bytes are of another version than the etag's."""
        body, found = self._call(lambda: self._read_version_once(uri, start, end), uri, "read")
        require_version(uri, found, etag)
        return body

    def _read_version_once(self, uri: str, start: int, end: int) -> tuple[bytes, str | None]:
        if scheme(uri) in LOCAL:
            return disk.read(uri, start, end), disk.stat(uri).etag
        return self._remote(uri).read_version(uri, start, end)

    def fetch(
        self,
        uri: str,
        path: Path,
        max_bytes: int | None = None,
        timeout: float | None = None,
        etag: str | None = None,
    ) -> None:
        """Copy a file to `path` on this disk, piece by piece, its length checked against what the storage announced.

        max_bytes: size limit. timeout: seconds for all of it, repetitions included. etag: of the version that is
        wanted, where it matters; as `require_version` takes it. After an error `path` is absent.

        Raises DocumentError FILE_TOO_LARGE or FETCH_TIMEOUT where a limit is met, FETCH_CHANGED where there is another
        version, else as every method.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._call(lambda: self._fetch_once(uri, path, max_bytes, deadline, etag), uri, "read", deadline)
        except BaseException as error:
            path.unlink(missing_ok=True)
            late = deadline is not None and time.monotonic() + pause(0) >= deadline
            if late and type(error) is StorageError:
                raise DocumentError("FETCH_TIMEOUT", f"{error}; the limit is {timeout:g} seconds") from None
            raise

    def _fetch_once(
        self, uri: str, path: Path, max_bytes: int | None, deadline: float | None, etag: str | None
    ) -> None:
        opened, got = self._backend(uri).open(uri, deadline), 0
        try:
            with path.open("wb") as file:
                require_version(uri, opened.etag, etag)
                _require_small(uri, opened.size or 0, max_bytes)
                for chunk in opened.chunks:
                    got += len(chunk)
                    _require_small(uri, got, max_bytes)
                    if deadline is not None and time.monotonic() > deadline:
                        raise TimeoutError(f"{got} bytes had come")
                    self._write(file, chunk, path)
        finally:
            opened.chunks.close()
        if opened.size is not None and got != opened.size:
            raise ShortBodyError(f"{got} bytes came of {opened.size}")

    def _write(self, file: IO[bytes], chunk: bytes, path: Path) -> None:
        try:
            file.write(chunk)
            file.flush()  # here, and not when the file is closed, because this error is this disk's
        except OSError as error:
            raise self._translated(error, str(path), "write") from None

    def put(self, uri: str, body: bytes) -> None:
        """Write an object at once, replacing what has the name. Disk: temporary file, fsync, rename. S3: one PUT."""
        backend = self._backend(uri)
        self._call(lambda: backend.put(uri, body), uri, "write")

    def put_if_absent(self, uri: str, body: bytes) -> bool:
        """Create an object; True: it is there by this call, False: another's has the name.

        body must be unique (hold a nonce): an object with these very bytes counts as this call's own, whose reply was
        lost.

        Raises StorageError where the storage stays silent so long that the outcome is unknown.
        """
        backend = self._backend(uri)
        attempt = 0
        while True:
            try:
                backend.create(uri, body)
            except backend.errors as error:
                if not is_in_doubt(error):
                    raise self._translated(error, uri, "create") from None
                held = self._holds(uri, body)
                if held is not None:
                    return held
                if attempt >= self.config.retries:
                    raise self._translated(error, uri, "create") from None
            else:
                return True
            time.sleep(pause(attempt))
            attempt += 1

    def _holds(self, uri: str, body: bytes) -> bool | None:
        """Whether the object has these bytes; None where there is none."""
        try:
            return self.stat(uri).size == len(body) and self.read(uri) == body
        except NotFoundError:
            return None

    def copy_if_absent(self, source: str, uri: str) -> bool:
        """Give a finished object a second name; True also when `uri` holds its bytes already, False: it holds others.

        On disk the two names share one file; on S3 the bytes pass through this process.
        """
        here, there = local_path(source), local_path(uri)
        if here is None or there is None:
            return self.put_if_absent(uri, self.read(source))
        try:
            disk.link(here, there)
        except FileExistsError:
            return here.samefile(there) or self._holds(uri, self.read(source)) is True
        except FileNotFoundError as error:
            raise self._translated(error, source, "read") from None
        except OSError as error:
            raise self._translated(error, uri, "create") from None
        return True

    def delete(self, uri: str, missing_ok: bool = True) -> None:
        """Remove an object; where there is none, NotFoundError if missing_ok is False."""
        backend = self._backend(uri)
        try:
            if not missing_ok:
                self.stat(uri)
            self._call(lambda: backend.delete(uri), uri, "delete")
        except NotFoundError:
            if not missing_ok:
                raise

    def tidy(self, uri: str, older_than: float = 3600.0) -> None:
        """Clears what interrupted writes left below a folder: on disk temporary files and empty folders, if so old.

        older_than: seconds. Object stores have neither. What can't be removed is left, for it harms nobody.
        """
        if local_path(uri) is not None:
            disk.tidy(uri, older_than)

    def probe_exclusive_create(self, uri_prefix: str) -> None:
        """Prove on a new object below `uri_prefix` that a second create fails; leaves nothing behind.

        Raises OutputInconsistentError where it doesn't: two writers could then both believe they hold the output.
        """
        uri = join(uri_prefix, f"probe-{uuid.uuid4().hex}")
        mine, other = uuid.uuid4().bytes, uuid.uuid4().bytes
        first = self.put_if_absent(uri, mine)
        try:
            kept = first and not self.put_if_absent(uri, other) and self.read(uri) == mine
        finally:
            self.delete(uri)
        if not kept:
            raise OutputInconsistentError(
                f"{redact(uri_prefix)} does not keep a name exclusive: a second create went through",
                "Use a storage that honours conditional writes (`If-None-Match: *`), as AWS S3 does, or a POSIX disk.",
            )

    def _backend(self, uri: str) -> Backend:
        if not uri:
            raise UsageError("an empty path names nothing", "Give a path or a URI.")
        return disk if scheme(uri) in LOCAL else self._remote(uri)

    def _remote(self, uri: str) -> Remote:
        name = scheme(uri)
        with self._lock:
            if self._process != os.getpid():  # a forked child must not use its parent's sockets and event loop
                self._opened, self._process = {}, os.getpid()
            kind = "s3" if name in S3_SCHEMES else name
            if kind not in self._opened:
                self._opened[kind] = self._connected(kind, uri)
            return self._opened[kind]

    def _connected(self, kind: str, uri: str) -> Remote:
        try:
            return with_retries(lambda: _open(kind, self.config), self.config.retries)
        except Exception as error:
            if isinstance(error, OcrBatchError):
                raise
            raise self._translated(error, uri, "reach") from None

    def _retries(self, uri: str) -> int:
        return 0 if scheme(uri) in LOCAL else self.config.retries  # a disk's error is not cured by repetition

    def _call(self, call: Callable[[], T], uri: str, action: str, deadline: float | None = None) -> T:
        try:
            return with_retries(call, self._retries(uri), deadline)
        except self._backend(uri).errors as error:
            raise self._translated(error, uri, action) from None

    def _guarded(self, entries: Callable[[], Iterable[T]], backend: Backend, uri: str) -> Iterator[T]:
        try:
            yield from entries()
        except backend.errors as error:
            place = getattr(error, "filename", None) if backend is disk else None
            raise self._translated(error, place or uri, "list") from None

    def _translated(self, error: Exception, uri: str, action: str) -> OcrBatchError:
        named = (self.config.key, self.config.secret, self.config.token)
        secrets = [one.get_secret_value() for one in named if one is not None] + secrets_within(self.config.options)
        return translate(error, uri, action, secrets)


def _open(kind: str, config: StorageConfig) -> Remote:
    # Imported here: aiobotocore and aiohttp take 0.7 s, which a run over a disk shouldn't pay.
    if kind == "s3":
        from ocrbatch.storage.s3 import S3

        return S3(config)
    from ocrbatch.storage.foreign import Foreign

    return Foreign(kind, config)


def _normal(uri: str) -> str:
    path = local_path(uri)
    return uri if path is None else str(path)


def require_version(uri: str, found: str | None, wanted: str | None) -> None:
    """Raises DocumentError FETCH_CHANGED where a file has another etag than the one that is wanted.

    found: None where the storage doesn't tell. wanted: None for any; "" for a file that was not there when it was
    looked up, so that whatever is there now is another version.
    """
    if wanted == "":
        raise DocumentError(
            "FETCH_CHANGED", f"{redact(uri)} could not be looked up when it was listed, but is there now"
        )
    if wanted is not None and found is not None and found != wanted:
        raise DocumentError("FETCH_CHANGED", f"{redact(uri)} was replaced after it was listed (etag {wanted})")


def _require_small(uri: str, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise DocumentError("FILE_TOO_LARGE", f"{redact(uri)} has {size} bytes or more; the limit is {limit}")
