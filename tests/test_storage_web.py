"""http(s): which hosts are reached, by name, by address, through a name server and a redirect, and what they give."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ocrbatch.config import StorageConfig
from ocrbatch.errors import AccessDeniedError, DocumentError, NotFoundError, StorageError
from ocrbatch.storage import Storage, host_of, is_allowed
from ocrbatch.storage.hosts import is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),  # behind a carrier's NAT
        ("169.254.169.254", False),  # a cloud's metadata
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("64:ff9b::a9fe:a9fe", False),  # NAT64 of 169.254.169.254
        ("64:ff9b::5db8:d822", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("host", "hosts", "allowed"),
    [
        ("a.example.org", ["*.example.org"], True),
        ("a.b.example.org", ["*.EXAMPLE.org"], True),
        ("example.org", ["*.example.org"], False),
        ("evilexample.org", ["*.example.org"], False),
        ("a.example.org.evil.net", ["*.example.org"], False),
        ("evil.net\\.example.org", ["*.example.org"], False),
        ("evil.net/.example.org", ["*.example.org"], False),
        ("", ["*"], False),
        ("x.org", [], False),
        ("::1", ["::1"], True),
    ],
)
def test_which_hosts_a_list_allows(host: str, hosts: list[str], allowed: bool) -> None:
    assert is_allowed(host, hosts) is allowed


def test_the_host_of_a_url() -> None:
    assert host_of("https://Example.ORG.:8443/a?b") == "example.org"
    assert host_of("http://[::1]:80/a") == "::1"
    assert host_of("http://[broken/a") == ""
    assert host_of("s3://bucket/http://h/a") is None
    assert host_of("/data/a") is None


BODIES = {"/a.png": b"body", "/large.pdf": b"0123456789" * 200_000, "/truncated": b"x" * 10}


class Site:
    """A web server on loopback, with BODIES, of which `/truncated` promises more than there is; `/denied` is 403, and
    `/to?URL` redirects. `seen` are the Host headers of requests, `versions` the headers that name a file's version.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.versions: dict[str, str] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                site.seen.append(self.headers["Host"].partition(":")[0])
                path, _, target = self.path.partition("?")
                if path in ("/to", "/uri"):
                    self.send_response(302)
                    self.send_header("Location", target if path == "/to" else "")
                    self.send_header("URI", target)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif path in BODIES:
                    body, span = BODIES[path], self.headers["Range"]
                    if span is not None:
                        first, last = map(int, span.removeprefix("bytes=").split("-"))
                        if first >= len(body):
                            self.send_error(416)
                            return
                        self.send_response(206)
                        self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
                        body = body[first : last + 1]
                    else:
                        self.send_response(200)
                    self.send_header("Content-Length", str(1000 if path == "/truncated" else len(body)))
                    for name, value in (site.versions or {"Last-Modified": self.date_time_string()}).items():
                        self.send_header(name, value)
                    self.end_headers()
                    if self.command == "GET":
                        self.wfile.write(body)
                else:
                    self.send_error(403 if path == "/denied" else 404)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=partial(self.server.serve_forever, 0.05), daemon=True).start()

    def url(self, host: str, path: str = "/a.png") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name server that answers 127.0.0.1 for every host of `.test`; what it was asked, in order."""
    asked: list[str] = []
    system = socket.getaddrinfo

    def lookup(host: str, *rest: object, **more: object) -> list:
        if not host.endswith(".test"):
            return system(host, *rest, **more)
        asked.append(host)
        return system("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


def reach(url: str, hosts: tuple[str, ...], folder: Path) -> bytes:
    """The file by each way that there is."""
    storage = Storage(StorageConfig(retries=2, http_hosts=hosts))
    found = storage.read(url)
    assert [entry.size for entry in storage.list(url)] == [len(found)]
    storage.fetch(url, folder / "fetched", timeout=20)
    assert (folder / "fetched").read_bytes() == found
    return found


def refused(url: str, hosts: tuple[str, ...], folder: Path) -> str:
    """The message; each way ends in the same one."""
    storage = Storage(StorageConfig(retries=2, http_hosts=hosts))
    messages = set()
    fetch = partial(storage.fetch, path=folder / "fetched", timeout=20)
    for call in (storage.stat, storage.read, storage.exists, fetch):
        with pytest.raises(AccessDeniedError) as caught:
            call(url)
        assert "input.storage.http_hosts" in caught.value.remedy
        messages.add(str(caught.value).partition(": ")[2])
    assert not (folder / "fetched").exists()
    (message,) = messages
    return message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "intranet.test"])
def test_a_private_host_must_be_listed_itself(site: Site, names: list[str], tmp_path: Path, host: str) -> None:
    for hosts in ((), ("*",), ("*.test", "127.0.0.*", "local*")):
        assert "is not public" in refused(site.url(host), hosts, tmp_path)
    assert site.seen == [], "nothing was sent"
    assert reach(site.url(host), (host.upper(),), tmp_path) == b"body"


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]", "0"])
def test_no_spelling_of_an_address_slips_through(site: Site, tmp_path: Path, host: str) -> None:
    storage = Storage(StorageConfig(retries=0, http_hosts=("*",)))
    with pytest.raises(Exception, match="can't read"):
        storage.read(site.url(host))
    assert site.seen == []


def test_the_address_that_is_looked_at_is_the_one_that_is_used(site: Site, names: list[str]) -> None:
    """A name that is looked up once for a connection can't lead elsewhere the second time."""
    Storage(StorageConfig(http_hosts=("rebound.test",))).read(site.url("rebound.test"))
    assert names == ["rebound.test"]


def test_redirects_stay_within_the_list(site: Site, names: list[str], tmp_path: Path) -> None:
    there = site.url("b.test")
    elsewhere = refused(site.url("a.test", f"/to?{there}"), ("a.test",), tmp_path)
    assert elsewhere == "a.test redirects to the host b.test, which input.storage.http_hosts does not allow"
    private = refused(site.url("a.test", f"/to?{there}"), ("a.test", "*.test"), tmp_path)
    assert "b.test has the address 127.0.0.1" in private
    literal = refused(site.url("a.test", f"/to?{site.url('127.0.0.1')}"), ("a.test", "*"), tmp_path)
    assert "the host 127.0.0.1 is not public" in literal
    protocol = refused(site.url("a.test", f"/to?//b.test:{site.port}/a.png"), ("a.test",), tmp_path)
    assert "redirects to the host b.test" in protocol
    other_header = refused(site.url("a.test", f"/uri?{there}"), ("a.test",), tmp_path)
    assert other_header == elsewhere
    assert set(site.seen) == {"a.test"}
    assert reach(site.url("a.test", f"/to?{there}"), ("a.test", "b.test"), tmp_path) == b"body"
    assert reach(site.url("a.test", "/to?/a.png"), ("a.test",), tmp_path) == b"body"
    assert reach(site.url("a.test", f"/to?/to?{there}"), ("a.test", "b.test"), tmp_path) == b"body"


def test_a_redirect_to_a_file_is_none(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    with pytest.raises(AccessDeniedError):
        Storage(StorageConfig(retries=0, http_hosts=("127.0.0.1",))).read(
            site.url("127.0.0.1", f"/to?file://{tmp_path}/secret.png")
        )


def test_options_of_the_user_do_not_take_the_guard_away(site: Site) -> None:
    options = {"client_kwargs": {"headers": {"X-Mine": "1"}}}
    with pytest.raises(AccessDeniedError):
        Storage(StorageConfig(retries=0, options=options)).read(site.url("127.0.0.1"))
    kept = Storage(StorageConfig(retries=0, options=options, http_hosts=("127.0.0.1",)))
    assert kept.read(site.url("127.0.0.1")) == b"body"
    with pytest.raises(NotFoundError):
        kept.read(site.url("127.0.0.1", "/none"))


def test_http_is_read(site: Site, tmp_path: Path) -> None:
    storage = Storage(StorageConfig(retries=1, http_hosts=("127.0.0.1",)))
    uri, body = site.url("127.0.0.1", "/large.pdf?X-Amz-Signature=planted"), BODIES["/large.pdf"]
    (entry,) = storage.list(uri)
    assert (entry.uri, entry.size) == (uri, 2_000_000)
    assert entry.mtime is not None
    storage.fetch(uri, tmp_path / "fetched", timeout=20)
    assert (tmp_path / "fetched").read_bytes() == body
    assert storage.read(uri) == body
    with pytest.raises(DocumentError) as caught:
        storage.fetch(uri, tmp_path / "large", max_bytes=1_999_999)
    assert caught.value.code.code == "FILE_TOO_LARGE"
    assert "planted" not in str(caught.value)


TIMES = [{"Last-Modified": f"Wed, 01 May 2024 10:00:0{second} GMT"} for second in (0, 1)]
ETAGS = [{"ETag": f'{weak}"{name}"', **TIMES[0]} for weak in ("", "W/") for name in "AB"]


@pytest.mark.parametrize(("old", "new"), [ETAGS[:2], ETAGS[2:], TIMES])
def test_the_version_that_was_listed_is_the_one_that_is_fetched(
    site: Site, tmp_path: Path, old: dict[str, str], new: dict[str, str]
) -> None:
    storage = Storage(StorageConfig(retries=0, http_hosts=("127.0.0.1",)))
    uri, site.versions = site.url("127.0.0.1"), old
    (entry,) = storage.list(uri)
    storage.fetch(uri, tmp_path / "fetched", etag=entry.etag)
    assert storage.read_version(uri, 1, 3, entry.etag) == b"od"
    assert storage.read_version(uri, 4, 6, entry.etag) == b"", "behind the end"
    site.versions = new
    fetch = partial(storage.fetch, uri, tmp_path / "fetched", etag=entry.etag)
    for call in (fetch, partial(storage.read_version, uri, 1, 3, entry.etag)):
        with pytest.raises(DocumentError) as caught:
            call()
        assert caught.value.code.code == "FETCH_CHANGED"
    assert not (tmp_path / "fetched").exists()
    site.versions = {"Server-Timing": "none"}  # neither an ETag nor a time
    (entry,) = storage.list(uri)
    storage.fetch(uri, tmp_path / "fetched", etag=entry.etag)


@pytest.mark.parametrize(
    ("path", "kind"), [("/missing", NotFoundError), ("/denied", AccessDeniedError), ("/truncated", StorageError)]
)
def test_http_errors_keep_the_query_to_themselves(
    site: Site, tmp_path: Path, path: str, kind: type[StorageError]
) -> None:
    storage = Storage(StorageConfig(retries=1, http_hosts=("127.0.0.1",)))
    with pytest.raises(StorageError) as caught:
        storage.fetch(site.url("127.0.0.1", f"{path}?sig=planted"), tmp_path / "fetched")
    assert type(caught.value) is kind
    assert path in str(caught.value)
    assert "planted" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert not (tmp_path / "fetched").exists()


def test_an_unreachable_web_server_is_not_a_missing_file() -> None:
    with pytest.raises(StorageError, match="did not answer") as caught:
        Storage(StorageConfig(retries=0, http_hosts=("127.0.0.1",))).stat("http://127.0.0.1:9/a.pdf?sig=planted")
    assert type(caught.value) is StorageError
    assert "planted" not in str(caught.value)
