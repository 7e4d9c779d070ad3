"""S3 through s3fs, one request at a time: listing, reading, one-shot and conditional writing.

Invariant: an object is written by a single PUT, so it is there whole or not at all (fsspec's `open("wb")`, never used,
publishes a partial object when an exception closes the file). botocore's and s3fs's own repetitions are turned off.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC
from typing import Any, Final

import aiohttp
import fsspec
from aiobotocore.credentials import (  # type: ignore[import-untyped]
    AioAssumeRoleCredentialFetcher,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.session import AioSession  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from fsspec.asyn import sync
from pydantic import SecretStr

from ocrbatch.config import StorageConfig
from ocrbatch.errors import UsageError
from ocrbatch.storage.backend import Opened, Retry
from ocrbatch.storage.faults import ShortBodyError, http_status, is_denied, is_missing
from ocrbatch.storage.uris import Entry, scheme, split_bucket

CHUNK: Final = 1 << 20  # bytes
PAGE = 1000  # keys a listing request, the most that S3 gives
_CONNECTIONS: Final = 64


def s3fs_options(config: StorageConfig) -> dict[str, Any]:
    """What the config means in s3fs's words.

    Only what is set is passed on; the rest comes from FSSPEC_S3_* and AWS_*, as usual. A side with a key of its own
    takes no credential from there: a foreign session token beside it would make it invalid.
    """
    given = dict(config.options)
    variables = fsspec.config.conf.get("s3", {})  # of FSSPEC_S3_*; fsspec itself doesn't merge what is nested
    region = {"region_name": config.region} if config.region else {}
    options: dict[str, Any] = {
        "use_listings_cache": False,
        "skip_instance_cache": True,
        "client_kwargs": variables.get("client_kwargs", {}) | region | given.pop("client_kwargs", {}),
        "config_kwargs": {
            "connect_timeout": min(config.timeout, 10.0),
            "read_timeout": config.timeout,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"total_max_attempts": 1},
        }
        | variables.get("config_kwargs", {})
        | given.pop("config_kwargs", {}),
    }
    if config.endpoint_url:
        options["endpoint_url"] = config.endpoint_url
    if config.role_arn:
        # The session holds the credentials; a key beside it would be taken in its place.
        return (
            options
            | given
            | {"session": RoleSession(config), "key": None, "secret": None, "token": None, "anon": False}
        )
    if config.anon:
        options["anon"] = True
    if config.profile:
        options["profile"] = config.profile
    if config.key is not None:
        options |= {"key": _plain(config.key), "secret": _plain(config.secret), "token": _plain(config.token)}
        options["anon"] = False
    return options | given


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


class RoleSession(AioSession):  # type: ignore[misc]
    """A session with the credentials of `config.role_arn`, renewed before they expire. Pickles as its config."""

    def __init__(self, config: StorageConfig) -> None:
        super().__init__()
        self._storage_config = config
        self._role_credentials: Any = None
        self._source = AioSession(profile=config.profile) if config.profile else AioSession()
        if config.key is not None:
            self._source.set_credentials(_plain(config.key), _plain(config.secret), _plain(config.token))

    def __reduce__(self) -> tuple[Callable[[StorageConfig], RoleSession], tuple[StorageConfig]]:
        return RoleSession, (self._storage_config,)

    async def get_credentials(self) -> Any:
        """The role's credentials; None where there are none to ask for them with, which the first request then says.

        Their first use asks STS: at the config's endpoint if it names one, else AWS's.
        """
        source = await self._source.get_credentials()
        if self._role_credentials is None and source is not None:
            config = self._storage_config
            place = {"endpoint_url": config.endpoint_url, "region_name": config.region}

            def client(service: str, **keys: Any) -> Any:
                return self._source.create_client(service, **{k: v for k, v in place.items() if v}, **keys)

            fetcher = AioAssumeRoleCredentialFetcher(
                client_creator=client,
                source_credentials=source,
                role_arn=config.role_arn,
                extra_args={"RoleSessionName": "ocrbatch"},
            )
            self._role_credentials = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        return self._role_credentials


class S3:
    """The `Backend` of s3://, s3a:// and s3n://."""

    errors: tuple[type[Exception], ...] = (
        OSError,  # s3fs's translation of S3's error codes
        ValueError,  # an endpoint that is no URL
        ClientError,
        BotoCoreError,
        ResponseParserError,
        aiohttp.ClientError,
        http.client.HTTPException,
    )

    def __init__(self, config: StorageConfig) -> None:
        self.fs = fsspec.filesystem("s3", **s3fs_options(config))
        try:
            AioSession(**self.fs.kwargs)  # what s3fs doesn't know itself it passes on, at the first request
        except TypeError:
            names = ", ".join(sorted(config.options))
            raise UsageError(f"s3fs doesn't know one of storage.options: {names}", "Check their names.") from None
        self.fs.retries = 1  # s3fs's word for: one attempt

    def stat(self, uri: str) -> Entry:
        """HEAD."""
        bucket, key = split_bucket(uri)
        if not key or key.endswith("/"):
            raise FileNotFoundError(uri)
        try:
            head = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        except OSError as error:
            if http_status(error)[0] in (400, 401, 403):
                self.read(uri, 0, 1)  # the reply to a HEAD has no body, so no reason: this error has one
            raise
        size = int(head["ContentLength"])
        return Entry(uri, size, head["LastModified"].astimezone(UTC), etag_of(head, size))

    def walk(self, uri: str, retry: Retry) -> Iterator[Entry]:
        """The object itself, then those below it; both can exist."""
        _, key = split_bucket(uri)
        denied: Exception | None = None
        if key and not key.endswith("/"):
            try:
                yield retry(lambda: self.stat(uri))
            except self.errors as error:
                if is_denied(error):  # a policy may allow listing alone
                    denied = error
                elif not is_missing(error):
                    raise
        empty = True
        for entry in self._listed(uri.rstrip("/") + "/", retry):
            empty = False
            yield entry
        if denied is not None and empty:
            raise denied

    def find(self, prefix: str, folders: re.Pattern[str], retry: Retry) -> Iterator[Entry]:
        """Every object whose key starts with the prefix's."""
        return self._listed(prefix, retry)

    def names_after(self, folder: str, name: str, retry: Retry) -> Iterator[str]:
        """As the server sorts them, beginning there: a request for each 1,000 of them."""
        found = self._listed(folder.rstrip("/") + "/", retry, name)
        return (entry.uri.rpartition("/")[2] for entry in found)

    def _listed(self, prefix: str, retry: Retry, after: str = "") -> Iterator[Entry]:
        # In the server's order, a page of keys in memory: holding a listing to sort it would take 0.5 KB an object.
        bucket, start = split_bucket(prefix)
        root = f"{prefix[: len(scheme(prefix))]}://{bucket}/"
        request: dict[str, Any] = {"Bucket": bucket, "Prefix": start, "MaxKeys": PAGE}
        if after:
            request["StartAfter"] = start + after
        before: dict[str, Any] = {}
        while True:
            page = retry(lambda: self.fs.call_s3("list_objects_v2", **request))
            found = {item["Key"]: item for item in page.get("Contents", ())}
            for key, item in found.items():
                # Not a folder's marker, nor what the page before had: some servers begin a page where that one ended.
                if not key.endswith("/") and key not in before:
                    size = int(item["Size"])
                    yield Entry(root + key, size, item["LastModified"].astimezone(UTC), etag_of(item, size))
            before = found
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def read(self, uri: str, start: int | None = None, end: int | None = None) -> bytes:
        """GET, the length checked."""
        return self._read(uri, start, end)[0]

    def read_version(self, uri: str, start: int, end: int) -> tuple[bytes, str | None]:
        """GET, the reply of which tells the ETag: not every server honours a condition (`If-Match`)."""
        return self._read(uri, start, end)

    def _read(self, uri: str, start: int | None, end: int | None) -> tuple[bytes, str | None]:
        bucket, key = split_bucket(uri)
        if start == end == 0 or (start is not None and end is not None and start >= end):
            return b"", None
        span = {} if not start and end is None else {"Range": http_range(start, end)}
        try:
            reply = self.fs.call_s3("get_object", Bucket=bucket, Key=key, **span)
        except OSError as error:
            if span and http_status(error)[0] == 416:  # the range begins at or behind the object's end
                return b"", None
            raise
        body: bytes = sync(self.fs.loop, reply["Body"].read)
        if len(body) != reply["ContentLength"]:
            raise ShortBodyError(f"{len(body)} bytes came of {reply['ContentLength']}")
        whole = reply.get("ContentRange", "").rpartition("/")[2]
        return body, etag_of(reply, int(whole) if whole.isdigit() else len(body))

    def open(self, uri: str, deadline: float | None) -> Opened:
        """GET, the body left to the iterator."""
        bucket, key = split_bucket(uri)
        reply = self.fs.call_s3("get_object", Bucket=bucket, Key=key, timeout=_remaining(deadline))
        size = int(reply["ContentLength"])
        return Opened(self._chunks(reply["Body"], deadline), size, etag_of(reply, size))

    def _chunks(self, body: Any, deadline: float | None) -> Generator[bytes]:
        try:
            while chunk := sync(self.fs.loop, body.read, CHUNK, timeout=_remaining(deadline)):
                yield chunk
        finally:
            self.fs.loop.call_soon_threadsafe(body.close)

    def put(self, uri: str, body: bytes) -> None:
        """PUT, at most 5 GiB."""
        bucket, key = split_bucket(uri)
        self.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=body)

    def create(self, uri: str, body: bytes) -> None:
        """PUT with `If-None-Match: *`, which fails with 412 or 409 where the key is taken."""
        bucket, key = split_bucket(uri)
        self.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")

    def delete(self, uri: str) -> None:
        """DELETE; no error where there is no such object."""
        bucket, key = split_bucket(uri)
        self.fs.call_s3("delete_object", Bucket=bucket, Key=key)


def etag_of(found: dict[str, Any], size: int) -> str:
    """The ETag of an object of `size` bytes; its time and size where the server gives none, for "" means: no object."""
    etag: str = found.get("ETag", "").strip('"')
    return etag or f"{int(found['LastModified'].timestamp())}-{size}"


def http_range(start: int | None, end: int | None) -> str:
    """The Range header for the non-empty slice [start, end); a negative start needs end None."""
    if start is not None and start < 0:
        return f"bytes={start}"
    return f"bytes={start or 0}-{'' if end is None else end - 1}"


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.01, deadline - time.monotonic())
