"""Every other fsspec scheme (http, memory, gs, abfs, sftp ...), as input.

Invariant: reads only. An entry's etag changes with the content as far as the scheme tells: its checksum, else time and
size.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

import aiohttp
import fsspec
from fsspec.registry import known_implementations

from ocrbatch.config import StorageConfig
from ocrbatch.errors import UsageError
from ocrbatch.storage import web
from ocrbatch.storage.backend import Opened, Retry
from ocrbatch.storage.faults import is_transient, scrub, secrets_within
from ocrbatch.storage.uris import HTTP, Entry, scheme

CHUNK: Final = 1 << 20
_CHECKSUMS: Final = ("ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5", "checksum", "sha256")
_TIMES: Final = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created")


class Foreign:
    """The `Backend` of one fsspec file system. Raises UsageError when the scheme is unknown or its package absent."""

    errors: tuple[type[Exception], ...] = (Exception,)  # those of fsspec's thirty packages have no closer common base

    def __init__(self, name: str, config: StorageConfig) -> None:
        given = dict(config.options)
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if name in HTTP:
            timeout = aiohttp.ClientTimeout(sock_connect=min(config.timeout, 10.0), sock_read=config.timeout)
            options["client_kwargs"] = {"timeout": timeout} | given.pop("client_kwargs", {})
            given["get_client"] = partial(web.session, hosts=config.http_hosts)
        self.scheme = name
        try:
            self.fs = fsspec.filesystem(name, **(options | given))
        except ImportError:
            advice = known_implementations.get(name, {}).get("err", "Install the package of this scheme.")
            raise UsageError(f"{name}:// needs a package that is not installed", str(advice)) from None
        except Exception as error:
            if "Protocol not known" in str(error):
                remedy = "Give a path, s3://, https://, or another scheme of fsspec."
                raise UsageError(f"{name}:// is no known scheme", remedy) from None
            if is_transient(error):  # some connect at once
                raise
            # ftp:// lacks a host, github:// an owner, hdfs:// Java.
            cause = scrub(str(error).partition("\n")[0], secrets_within(config.options))
            remedy = "Set the options of fsspec's file system of this scheme under input.storage.options."
            raise UsageError(f"{name}:// can't be opened: {type(error).__name__}: {cause}", remedy) from None

    def path(self, uri: str) -> str:
        """The URI as fsspec's methods take it."""
        return str(self.fs._strip_protocol(uri))

    def stat(self, uri: str) -> Entry:
        """What the scheme tells of one file."""
        found = self.fs.info(self.path(uri))
        if found.get("type") == "directory":
            raise FileNotFoundError(uri)
        return entry_of(uri, found)

    def walk(self, uri: str, retry: Retry) -> Iterator[Entry]:
        """Every file at or below the URI; of http(s), which has no folders, the file itself, or an error."""
        if self.scheme in HTTP:
            yield retry(lambda: self.stat(uri))
            return
        root = self.path(uri)
        try:
            found = retry(lambda: self.fs.find(root, detail=True))
        except FileNotFoundError:
            return
        base = uri.rstrip("/") if scheme(uri.rstrip("/")) else uri
        named = ((base + path.removeprefix(root.rstrip("/")), item) for path, item in found.items())
        yield from sorted(
            (entry_of(name, item) for name, item in named if item.get("type", "file") == "file"),
            key=lambda entry: entry.uri,
        )

    def find(self, prefix: str, folders: re.Pattern[str], retry: Retry) -> Iterator[Entry]:
        """Every file below the last folder that `prefix` names whole."""
        yield from self.walk(prefix[: prefix.rfind("/") + 1], retry)

    def names_after(self, folder: str, name: str, retry: Retry) -> Iterator[str]:
        """Those among all names."""
        found = (entry.uri.rpartition("/")[2] for entry in self.walk(folder, retry))
        return (other for other in found if other > name)

    def read(self, uri: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes [start, end)."""
        return bytes(self.fs.cat_file(self.path(uri), start=start, end=end))

    def read_version(self, uri: str, start: int, end: int) -> tuple[bytes, str | None]:
        """Of http(s) the reply tells the version; others are looked at again."""
        if self.scheme not in HTTP:
            return self.read(uri, start, end), self.stat(uri).etag
        try:
            with self._get(uri, Range=f"bytes={start}-{end - 1}") as file:
                return bytes(file.read()), _etag_of_reply(uri, file.r.headers)
        except aiohttp.ClientResponseError as error:
            if error.status == 416:  # the range begins at or behind the file's end
                return b"", None
            raise

    def open(self, uri: str, deadline: float | None) -> Opened:
        """Begins to read a file; of http(s) the reply tells the version."""
        if self.scheme in HTTP:
            file = self._get(uri)
            return Opened(_chunks(file), etag=_etag_of_reply(uri, file.r.headers))
        file = self.fs.open(self.path(uri), "rb")
        size = getattr(file, "size", None)
        return Opened(_chunks(file), size if isinstance(size, int) else None)

    def _get(self, uri: str, **headers: str) -> Any:
        """One streamed GET, as a file with aiohttp's response `r`."""
        # Not compressed on its way, as at listing: some servers give what they compress another ETag.
        given = self.fs.kwargs.get("headers", {}) | {"Accept-Encoding": "identity"} | headers
        # block_size 0 is fsspec's word for one GET without ranges; a size, for no HEAD before it.
        return self.fs.open(self.path(uri), "rb", block_size=0, size=1, headers=given)

    def put(self, uri: str, body: bytes) -> None:
        """Refused."""
        raise _read_only(uri)

    def create(self, uri: str, body: bytes) -> None:
        """Refused."""
        raise _read_only(uri)

    def delete(self, uri: str) -> None:
        """Refused."""
        raise _read_only(uri)


def _read_only(uri: str) -> UsageError:
    return UsageError(f"{scheme(uri)}:// can be read, not written", "Give a folder on disk or an s3:// prefix.")


def _chunks(file: Any) -> Generator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield bytes(chunk)


def _etag_of_reply(uri: str, headers: Mapping[str, str]) -> str | None:
    """The etag that `entry_of` makes at listing; None where the reply lacks what it takes."""
    plain = headers.get("Content-Encoding", "identity") == "identity"
    whole = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    size = int(whole) if plain and whole.isdigit() else None
    told = {name: headers[name] for name in ("ETag", "Content-MD5", "Last-Modified") if name in headers}
    if size is None and not headers.get("ETag"):
        return None
    return entry_of(uri, told | {"size": size}).etag


def entry_of(uri: str, found: dict[str, Any]) -> Entry:
    """An Entry from fsspec's free-form dictionary; each scheme names the same things otherwise."""
    size = found.get("size")
    mtime = next((when for key in _TIMES if (when := _time(found.get(key))) is not None), None)
    checksums = (str(found[key]).removeprefix("W/").strip('"') for key in _CHECKSUMS if found.get(key))
    etag = next(filter(None, checksums), None) or f"{mtime.isoformat() if mtime else ''}-{'' if size is None else size}"
    return Entry(uri, None if size is None else int(size), mtime, etag)


def _time(value: Any) -> datetime | None:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        for parse in (datetime.fromisoformat, parsedate_to_datetime):
            try:
                value = parse(value)
                break
            except ValueError:
                continue
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
