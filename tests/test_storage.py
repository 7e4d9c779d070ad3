"""Storage's own decisions: URIs, globs, error meanings, retries, options; the disk; and schemes that are only read."""

from __future__ import annotations

import errno
import http.client
import os
import pickle
import re
import tempfile
import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import aiohttp
import botocore.exceptions
import fsspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from ocrbatch.config import StorageConfig
from ocrbatch.errors import (
    AccessDeniedError,
    CredentialsError,
    DiskFullError,
    NotFoundError,
    StorageError,
    UsageError,
)
from ocrbatch.storage import Entry, Storage, disk, glob_regex, join, local_path, redact, scheme
from ocrbatch.storage.faults import (
    LONGEST_PAUSE,
    ShortBodyError,
    is_credentials,
    is_denied,
    is_in_doubt,
    is_missing,
    is_transient,
    pause,
    secrets_within,
    translate,
    with_retries,
)
from ocrbatch.storage.foreign import entry_of
from ocrbatch.storage.s3 import S3, etag_of, http_range, s3fs_options
from ocrbatch.storage.uris import before_magic, glob_folders, local_uri

# URIs


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/k", "s3"),
        ("S3A://b/k", "s3a"),
        ("/a/b", ""),
        ("a:b", ""),
        ("C:/x", ""),
        ("file:///x", "file"),
        ("", ""),
    ],
)
def test_scheme(uri: str, name: str) -> None:
    assert scheme(uri) == name


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://b", ("x",), "s3://b/x"),
        ("s3://b/out/", ("/pages/", "part-1"), "s3://b/out/pages/part-1"),
        ("/", ("a",), "/a"),
        ("file:///", ("a",), "file:///a"),
        ("/a/b", (), "/a/b"),
        ("/a", ("", "b"), "/a/b"),
        ("", ("a", "b"), "a/b"),
    ],
)
def test_join(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert join(uri, *parts) == joined


def test_a_local_path_is_absolute_and_keeps_its_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert local_path("link/../link/x") == tmp_path / "link/x"
    assert local_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    (tmp_path / "a%20b").touch()
    assert local_path(f"file://{tmp_path}/a%20b") == tmp_path / "a%20b"
    (tmp_path / "%FF.png").touch()
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    assert local_path(local_uri(odd)) == Path(odd), "not the file that is named like its URI"
    assert local_path(f"file://localhost{tmp_path}/x") == tmp_path / "x"
    assert local_path("s3://b/x") is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://host/a.pdf?X-Amz-Signature=abc#f", "https://host/a.pdf"),
        ("https://user:word@host:8/a", "https://host:8/a"),
        ("sftp://me:word@host/a b", "sftp://host/a b"),
        ("s3://bucket/what?.pdf", "s3://bucket/what?.pdf"),
        ("s3://bucket/what?.pdf?X-Amz-Date=1&X-Amz-Signature=abc", "s3://bucket/what?.pdf"),
        ("s3a://bucket/a?AWSAccessKeyId=abc", "s3a://bucket/a"),
        ("s3://bucket/a?Expires=1&Signature=abc", "s3://bucket/a"),
        ("s3://bucket/scan?&X-Amz-Signature.pdf", "s3://bucket/scan?&X-Amz-Signature.pdf"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("abfs://me:word@account/a", "abfs://account/a"),
        ("/data/100%?.pdf", "/data/100%?.pdf"),
        ("http://[broken/a?secret", "http://[broken/a"),
        ("HTTPS://Host/a#secret", "HTTPS://Host/a"),
        ("gs://b/scan #3.png", "gs://b/scan #3.png"),
        ("hdfs:///data/a", "hdfs:///data/a"),
        ("ABFS://container@account/a", "ABFS://container@account/a"),
        ("sftp://me:word@host?x", "sftp://host"),
        ("s3n://KEY:WORD@bucket/x/a@b", "s3n://bucket/x/a@b"),
        ("s3a://KEY:WO/RD@bucket/x", "s3a://bucket/x"),
        ("s3://bucket/me:word@host/a@b.png", "s3://bucket/me:word@host/a@b.png"),
        ("s3://arn:aws:s3:eu-west-1:1:accesspoint:it/a@b", "s3://arn:aws:s3:eu-west-1:1:accesspoint:it/a@b"),
        ("http://user:pa/ss@host/x", "http://host/x"),
        ("http://user:pa?ss@host/x", "http://host/x"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
    ],
)
def test_redact(uri: str, shown: str) -> None:
    assert redact(uri) == shown


# Globs


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.png", ["a.png", ".png"], ["a/b.png", "a.pngx"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "a/bx"]),
        ("a/**", ["a/", "a/b/c"], ["ab"]),
        ("a/**/b", ["a/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("[a-c]1", ["a1", "c1"], ["d1"]),
        ("[!a-c]1", ["d1"], ["a1", "/1"]),
        ("[]]x", ["]x"], ["x"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("a[", ["a["], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_glob(pattern: str, yes: list[str], no: list[str]) -> None:
    for name in yes:
        assert glob_regex(pattern).match(name), name
    for name in no:
        assert not glob_regex(pattern).match(name), name


GLOB_ALPHABET = st.text(alphabet="ab/*?[]!-.^", max_size=8)


@given(pattern=st.text(alphabet="ab*?[]!.", max_size=8), name=st.text(alphabet="ab!.]", max_size=6))
def test_a_glob_without_folders_is_fnmatch(pattern: str, name: str) -> None:
    assert bool(glob_regex(pattern).match(name)) == fnmatchcase(name, pattern)


@given(pattern=GLOB_ALPHABET, name=st.text(alphabet="ab/.[]", max_size=8))
@example(pattern="[/a]", name="[/a]/b")  # no set
@example(pattern="[!/]*]/a", name="[!/b]/a/b")
def test_the_pruned_walk_misses_nothing(pattern: str, name: str) -> None:
    """Every folder above a match is a folder that the walk visits, below the last whole folder before the magic."""
    try:
        glob_regex(pattern)
    except re.error:  # a set such as [b-a]
        assume(False)
    if glob_regex(pattern, whole_folders=True).match(name):
        base = before_magic(pattern).rpartition("/")[0]
        assert name.startswith(before_magic(pattern))
        for i, char in enumerate(name):
            if char == "/" and i > len(base):
                assert glob_folders(pattern).match(name[:i]), name[:i]


def test_a_glob_visits_no_other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in/a.png", "in/private/x.png", "in/2024/b.png", "in/2024/deep/c.png"):
        disk.put(str(tmp_path / name), b"x")
    visited: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (visited.append(Path(folder).name), scandir(folder))[1])
    found = [Path(entry.uri).name for entry in Storage().list(f"{tmp_path}/in/*/b.png")]
    assert found == ["b.png"]
    visited.clear()
    assert [Path(entry.uri).name for entry in Storage().list(f"{tmp_path}/in/2*/b.png")] == ["b.png"]
    assert visited == ["in", "2024"]


# What an error means


def client_error(status: int, code: str) -> OSError:
    """As s3fs hands it on: an OSError whose cause is botocore's."""
    response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = OSError(errno.EIO, "no")
    error.__cause__ = botocore.exceptions.ClientError(response, "PutObject")
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


RESET = aiohttp.ClientOSError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (client_error(503, "SlowDown"), "transient"),
        (client_error(500, "InternalError"), "transient"),
        (client_error(400, "RequestTimeout"), "transient"),
        (client_error(400, "XAmzContentChecksumMismatch"), "transient"),
        (client_error(409, "ConditionalRequestConflict"), "transient"),
        (client_error(429, "TooManyRequests"), "transient"),
        (client_error(404, "NoSuchKey"), "missing"),
        (client_error(404, "NoSuchBucket"), "missing"),
        (client_error(403, "AccessDenied"), "denied"),
        (client_error(400, "ExpiredToken"), "credentials"),
        (client_error(403, "InvalidAccessKeyId"), "credentials"),
        (client_error(403, "RequestTimeTooSkewed"), "credentials"),
        (client_error(401, ""), "denied"),
        (client_error(400, "InvalidArgument"), "final"),
        (client_error(501, "NotImplemented"), "final"),
        (client_error(412, "PreconditionFailed"), "doubt"),
        (OSError(errno.EINVAL, "precondition"), "doubt"),
        (FileExistsError(errno.EEXIST, "x"), "doubt"),
        (botocore.exceptions.NoCredentialsError(), "credentials"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), "transient"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), "transient"),
        (botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), "transient"),
        (botocore.exceptions.ParamValidationError(report="Bucket"), "final"),
        (caused(aiohttp.ClientPayloadError("short"), aiohttp.http_exceptions.ContentLengthError("short")), "transient"),
        (aiohttp.ServerDisconnectedError(), "transient"),
        (http.client.IncompleteRead(b""), "transient"),
        (ShortBodyError("1 of 2"), "transient"),
        (TimeoutError(), "transient"),
        (ConnectionResetError(), "transient"),
        (FileNotFoundError("x"), "missing"),
        (caused(FileNotFoundError("http://x"), RESET), "transient"),
        (PermissionError(errno.EACCES, "no"), "denied"),
        (OSError(errno.ENOSPC, "full"), "final"),
        (ValueError("bug"), "final"),
    ],
    ids=repr,
)
def test_what_an_error_means(error: Exception, meaning: str) -> None:
    found = {
        "missing": is_missing(error),
        "credentials": is_credentials(error) and is_denied(error),
        "denied": is_denied(error),
        "transient": is_transient(error),
        "doubt": is_in_doubt(error),
        "final": True,
    }
    assert next(name for name, holds in found.items() if holds) == meaning
    if meaning == "transient":
        assert is_in_doubt(error)
    translated = translate(error, "s3://b/k", "read")
    expected = {"missing": NotFoundError, "denied": AccessDeniedError, "credentials": CredentialsError}
    if getattr(error, "errno", None) != errno.ENOSPC:
        assert type(translated) is expected.get(meaning, StorageError)
    assert "s3://b/k" in str(translated)
    assert translated.remedy


def test_a_full_disk_says_so() -> None:
    error = translate(OSError(errno.ENOSPC, "No space left on device"), "/data/out", "write")
    assert type(error) is DiskFullError
    assert "full" in str(error)
    assert "run the same command again" in error.remedy
    assert isinstance(translate(OSError(errno.EROFS, "ro"), "/data/out", "write"), AccessDeniedError)


def test_no_secret_reaches_a_message() -> None:
    options = {"headers": {"Authorization": "Bearer planted-1"}, "account_key": "planted-2", "project": "visible"}
    storage = Storage(StorageConfig(key="planted-3", secret="planted-4", token="planted-5", options=options))
    text = "planted-1 planted-2 planted-3 planted-4 planted-5 visible https://u:planted-6@h/p?sig=planted-7&x"
    message = str(storage._translated(OSError(errno.EIO, text), "https://h/a?sig=planted-8", "read"))
    assert "planted" not in message
    assert "visible" in message
    assert secrets_within(options) == ["Bearer", "Bearer planted-1", "planted-1", "planted-2"]


def test_retries_are_counted_and_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    calls: list[int] = []

    def fail(error: Exception) -> None:
        calls.append(1)
        raise error

    for error, retries, deadline, expected in (
        (ConnectionResetError(), 3, None, 4),
        (ConnectionResetError(), 0, None, 1),
        (PermissionError(), 3, None, 1),
        (ConnectionResetError(), 3, time.monotonic(), 1),
    ):
        calls.clear()
        with pytest.raises(type(error)):
            with_retries(partial(fail, error), retries, deadline)
        assert len(calls) == expected
    assert len(slept) == 3


@given(attempt=st.integers(0, 10_000))
def test_pauses_grow_to_a_bound(attempt: int) -> None:
    longest = min(LONGEST_PAUSE, 0.2 * 2 ** min(attempt, 20))
    assert longest / 2 <= pause(attempt) <= longest


# S3 options


def test_what_is_unset_is_left_to_the_environment() -> None:
    options = s3fs_options(StorageConfig())
    assert not {"key", "secret", "token", "anon", "profile", "endpoint_url", "session"} & options.keys()
    assert options["use_listings_cache"] is False
    assert options["client_kwargs"] == {}
    assert options["config_kwargs"]["retries"] == {"total_max_attempts": 1}


def test_every_key_of_the_config_reaches_s3fs() -> None:
    config = StorageConfig(
        endpoint_url="http://minio:9000", region="eu-1", profile="me", key="k", secret="s", timeout=7,
        options={"requester_pays": True, "client_kwargs": {"verify": False}, "config_kwargs": {"connect_timeout": 1}},
    )  # fmt: skip
    options = s3fs_options(config)
    assert options["endpoint_url"] == "http://minio:9000"
    assert options["client_kwargs"] == {"region_name": "eu-1", "verify": False}
    assert (options["key"], options["secret"], options["token"], options["anon"]) == ("k", "s", None, False)
    assert options["profile"] == "me"
    assert options["requester_pays"] is True
    assert options["config_kwargs"]["read_timeout"] == 7
    assert options["config_kwargs"]["connect_timeout"] == 1
    assert s3fs_options(StorageConfig(anon=True))["anon"] is True


def test_an_option_that_s3fs_does_not_know_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="secret_thing") as caught:
        Storage(StorageConfig(options={"secret_thing": "planted", "requester_pays": True})).read("s3://b/k")
    assert "planted" not in str(caught.value)


def test_variables_of_fsspec_are_kept_but_not_beside_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"token": "foreign", "key": "foreign", "client_kwargs": {"verify": "ca.pem"}}
    monkeypatch.setitem(fsspec.config.conf, "s3", variables)
    fs = Storage(StorageConfig(key="k", secret="s", region="r"))._backend("s3://b/k").fs  # type: ignore[attr-defined]
    assert (fs.key, fs.secret, fs.token) == ("k", "s", None)
    assert fs.client_kwargs == {"verify": "ca.pem", "region_name": "r"}
    assert Storage()._backend("s3://b/k").fs.token == "foreign"  # type: ignore[attr-defined]


def test_a_role_takes_its_session_instead_of_a_key() -> None:
    options = s3fs_options(StorageConfig(key="k", secret="s", role_arn="arn:aws:iam::1:role/x", anon=False))
    assert options["session"].__reduce__()[1][0].role_arn == "arn:aws:iam::1:role/x"
    assert options["key"] is None
    assert options["secret"] is None


@pytest.mark.parametrize("role", [None, "arn:aws:iam::123456789012:role/x"])
def test_missing_credentials_are_told_with_a_role_too(role: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    storage = Storage(StorageConfig(role_arn=role, region="us-east-1", retries=0))
    with pytest.raises(CredentialsError, match="Unable to locate credentials"):
        storage.read("s3://bucket/a")


def test_two_storages_share_no_file_system() -> None:
    one, two = Storage(), Storage()
    assert one._backend("s3://b/k") is one._backend("s3a://b/k")
    assert one._backend("s3://b/k").fs is not two._backend("s3://b/k").fs  # type: ignore[attr-defined]


@given(size=st.integers(0, 20), start=st.none() | st.integers(-5, 25), end=st.none() | st.integers(0, 25))
def test_http_ranges_are_slices(size: int, start: int | None, end: int | None) -> None:
    if (end is not None and (start or 0) < 0) or (end is not None and end <= (start or 0)):
        return
    first, _, last = http_range(start, end).removeprefix("bytes=").partition("-")
    body = bytes(range(size))
    served = body[-int(last) :] if not first else body[int(first) : int(last) + 1 if last else None]
    assert served == body[start:end]


# The disk


def test_links_lead_neither_out_nor_in_circles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, outside = tmp_path / "in", tmp_path / "outside"
    for path in (root / "sub/real.png", outside / "secret.png"):
        disk.put(str(path), b"x")
    (root / "inside.png").symlink_to("sub/real.png")
    (root / "outside.png").symlink_to(outside / "secret.png")
    (root / "outside").symlink_to(outside)
    (root / "sub/up").symlink_to("..")
    (root / "self").symlink_to("self")
    (root / "broken").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    names = ["inside.png", "sub/real.png"]
    assert [os.path.relpath(entry.uri, root) for entry in Storage().list(str(root))] == names
    assert {"outside.png", "outside", "up"} <= {Path(str(record.args[0])).name for record in caplog.records}
    (tmp_path / "link").symlink_to(root)  # the root itself may be a link
    assert [entry.uri for entry in Storage().list(str(tmp_path / "link"))] == [
        f"{tmp_path}/link/{name}" for name in names
    ]
    with pytest.raises(StorageError, match="pipe"):
        Storage().read(str(root / "pipe"))


@given(
    names=st.sets(
        st.lists(st.text(alphabet="ab-./0é".replace("/", ""), min_size=1, max_size=3), min_size=1, max_size=3).map(
            "/".join
        ),
        max_size=8,
    )
)
def test_the_walk_is_in_byte_order(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("walk")
    for name in names:
        if {".", ".."} & set(name.split("/")):
            continue
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    found = [entry.uri for entry in Storage().list(str(root))]
    assert found == sorted((str(path) for path in root.rglob("*") if path.is_file()), key=os.fsencode)


def test_a_folder_that_goes_away_meanwhile_holds_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.png", "d.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    found = Storage().list(str(tmp_path / "in"))
    assert next(found).uri == f"{tmp_path}/in/a.png"
    (tmp_path / "in/b").rename(tmp_path / "b")
    assert [entry.uri for entry in found] == [f"{tmp_path}/in/d.png"]
    (tmp_path / "b").rename(tmp_path / "in/b")
    found = Storage().list(str(tmp_path / "in"))
    next(found)
    (tmp_path / "in").rename(tmp_path / "away")
    with pytest.raises(NotFoundError):
        list(found)


def test_a_time_that_no_calendar_has() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # a disk's own file system may know no such time
        path = Path(folder, "a.png")
        path.touch()
        os.utime(path, (2**40, 2**40))
        (entry,) = Storage().list(folder)
        assert entry == Storage().stat(str(path)) == Entry(str(path), 0, None, f"{2**40 * 10**9}-0")


def test_a_name_that_is_no_utf8_is_listed_and_read(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9 100%.png"
    Path(os.fsdecode(name)).write_bytes(b"x")
    (entry,) = Storage().list(str(tmp_path))
    entry.uri.encode()  # fits a row
    assert entry.uri.startswith("file:///")
    assert Storage().read(entry.uri) == b"x"
    assert Storage().stat(entry.uri) == entry


def test_unfinished_writes_are_not_there_and_failed_ones_leave_nothing(tmp_path: Path) -> None:
    disk._write_unfinished(tmp_path / "part-1", b"torn")
    assert len(list(tmp_path.iterdir())) == 1
    assert list(Storage().list(str(tmp_path))) == []
    (tmp_path / "folder").mkdir()
    (tmp_path / "part-1").touch()
    with pytest.raises(StorageError):
        Storage().put(str(tmp_path / "folder"), b"x")
    with pytest.raises(StorageError):
        Storage().put(str(tmp_path / "part-1/below"), b"x")  # a file stands where a folder should
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["folder", "part-1"]


def test_a_write_fills_missing_folders_and_long_names(tmp_path: Path) -> None:
    uri = str(tmp_path / "a/b" / ("n" * 255))
    assert Storage().put_if_absent(uri, b"1")
    Storage().put(uri, b"2")
    assert Storage().read(uri) == b"2"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["n" * 255]


def test_a_key_that_two_pages_name_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def item(key: str) -> dict[str, object]:
        return {"Key": key, "Size": 1, "LastModified": datetime.now(UTC), "ETag": '"e"'}

    pages = [
        {"Contents": [item("a"), item("b")], "IsTruncated": True, "NextContinuationToken": "b"},
        {"Contents": [item("b"), item("c"), item("d/")], "IsTruncated": False},
    ]
    s3 = S3(StorageConfig(key="k", secret=SecretStr("s")))
    monkeypatch.setattr(s3.fs, "call_s3", lambda *_, **__: pages.pop(0))
    found = s3.find("s3://bucket/", re.compile(""), lambda call: call())
    assert [entry.uri for entry in found] == ["s3://bucket/a", "s3://bucket/b", "s3://bucket/c"]


def test_a_relative_path_is_listed_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.put(str(tmp_path / "in/x"), b"1")
    monkeypatch.chdir(tmp_path)
    assert [entry.uri for entry in Storage().list("in")] == [str(tmp_path / "in/x")]
    assert [entry.uri for entry in Storage().list("i*/?")] == [str(tmp_path / "in/x")]
    assert local_path("in") == tmp_path / "in"
    with pytest.raises(UsageError):
        list(Storage().list(""))


# Other schemes


def test_memory_is_read_but_not_written() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/store-test/in/a.png": b"one", "/store-test/in/b/c.png": b"two", "/store-test/input2": b"no"})
    storage = Storage()
    assert [e.uri for e in storage.list("memory://store-test/in")] == [
        "memory://store-test/in/a.png",
        "memory://store-test/in/b/c.png",
    ]
    assert [e.uri for e in storage.list("memory://store-test/i*/b")] == ["memory://store-test/in/b/c.png"]
    assert [e.uri for e in storage.list("memory://store-test/in/a.png")] == ["memory://store-test/in/a.png"]
    assert list(storage.list("memory://store-test/none")) == []
    assert storage.read("memory://store-test/in/a.png", 1) == b"ne"
    before = storage.stat("memory://store-test/in/a.png").etag
    memory.pipe("/store-test/in/a.png", b"new")
    assert storage.stat("memory://store-test/in/a.png").etag != before
    for call in (storage.put, storage.put_if_absent):
        with pytest.raises(UsageError, match="read, not written"):
            call("memory://store-test/x", b"1")
    with pytest.raises(NotFoundError):
        storage.read("memory://store-test/none")


def test_an_unknown_scheme_and_a_missing_package_are_told() -> None:
    with pytest.raises(UsageError, match="no known scheme"):
        Storage().read("nosuch://x/y")
    with pytest.raises(UsageError, match="not installed") as caught:
        Storage().read("gs://bucket/x")
    assert "gcsfs" in caught.value.remedy


@pytest.mark.parametrize(("refusals", "passes"), [(1, True), (9, False)])
def test_a_server_that_refuses_the_first_connection_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, refusals: int, passes: bool
) -> None:
    fsspec.filesystem("memory").pipe("/refusing/a.png", b"body")
    real, asked = fsspec.filesystem, []

    def refusing(name: str, **options: object) -> object:
        asked.append(name)
        if len(asked) <= refusals:
            raise ConnectionRefusedError(111, "Connection refused")
        return real(name, **options)

    monkeypatch.setattr(fsspec, "filesystem", refusing)
    storage = Storage(StorageConfig(retries=1))
    if passes:
        assert storage.read("memory://refusing/a.png") == b"body"
    else:
        with pytest.raises(StorageError, match="did not answer"):  # exit 5 and not 2: the same command may do it later
            storage.read("memory://refusing/a.png")
    assert asked == ["memory", "memory"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fsspec's FTP closes what it never had
@pytest.mark.parametrize("uri", ["ftp://h/x", "github://a/b", "dir://x", "zip://x/y", "hdfs:///x"])
def test_a_scheme_that_needs_more_than_a_uri_is_one_line(uri: str) -> None:
    with pytest.raises(UsageError, match="can't be opened") as caught:
        Storage(StorageConfig(options={"token": "hunter2"})).read(uri)
    assert "\n" not in str(caught.value).partition("\n->")[0]
    assert "input.storage.options" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


def test_entries_of_other_schemes_take_what_is_told() -> None:
    google = entry_of("gs://b/k", {"size": 3, "md5Hash": "abc==", "updated": "2024-05-01T10:00:00.000Z"})
    assert (google.etag, google.size) == ("abc==", 3)
    assert google.mtime is not None
    assert google.mtime.isoformat() == "2024-05-01T10:00:00+00:00"
    weak = entry_of("http://h/k", {"size": None, "ETag": 'W/"x1"', "Last-Modified": "Wed, 01 May 2024 10:00:00 GMT"})
    assert (weak.etag, weak.size, weak.mtime) == ("x1", None, google.mtime)
    assert entry_of("sftp://h/k", {"size": 5, "mtime": 1714557600.0}).etag == "2024-05-01T10:00:00+00:00-5"


def test_what_exists_has_an_etag_though_the_server_gives_none() -> None:
    when = datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert etag_of({"ETag": '"x1"', "LastModified": when}, 5) == "x1"
    assert etag_of({"ETag": '""', "LastModified": when}, 5) == etag_of({"LastModified": when}, 5) == "1714557600-5"
    assert (
        entry_of("http://h/k", {"size": 5, "ETag": '""', "mtime": 1714557600.0}).etag == "2024-05-01T10:00:00+00:00-5"
    )


def test_a_storage_pickles_as_its_config() -> None:
    storage = Storage(StorageConfig(secret="x", retries=2))
    storage._backend("memory://x")
    again = pickle.loads(pickle.dumps(storage))
    assert again.config == storage.config
    assert again._opened == {}
