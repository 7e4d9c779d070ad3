"""What every storage that can be an output must do: a disk, SeaweedFS and moto; and SeaweedFS behind a faulty proxy."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from fsspec.asyn import sync
from servers import Fault, FaultProxy, S3Server, SeaweedServer

from ocrbatch.config import StorageConfig
from ocrbatch.errors import (
    AccessDeniedError,
    CredentialsError,
    DocumentError,
    NotFoundError,
    OutputInconsistentError,
    StorageError,
)
from ocrbatch.storage import Storage, join


@dataclass
class Place:
    """An empty place to write to."""

    storage: Storage
    root: str

    def names(self, uri: str = "") -> list[str]:
        return [entry.uri.removeprefix(self.root + "/") for entry in self.storage.list(join(self.root, uri))]


S3_KINDS = [pytest.param("seaweed", marks=pytest.mark.s3), pytest.param("moto_s3", marks=pytest.mark.s3)]


@pytest.fixture(params=["disk", *S3_KINDS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return Place(Storage(), str(tmp_path / "out"))
    server: S3Server = request.getfixturevalue(request.param)
    return Place(Storage(server.config()), f"s3://{server.bucket()}/out")


@pytest.fixture
def faulty(seaweed: SeaweedServer, proxy: FaultProxy) -> Place:
    """SeaweedFS behind the proxy."""
    return Place(Storage(seaweed.config(endpoint_url=proxy.endpoint, retries=3)), f"s3://{seaweed.bucket()}/out")


# Reading and writing


def test_what_was_put_is_read_back_whole_and_in_ranges(place: Place) -> None:
    uri, body = join(place.root, "a/b.bin"), bytes(range(256)) * 5000
    place.storage.put(uri, b"older")
    place.storage.put(uri, body)
    assert place.storage.read(uri) == body
    for start, end in (
        (0, 10),
        (5, None),
        (None, 7),
        (-9, None),
        (100, 100),
        (len(body), None),
        (len(body) - 1, 10**9),
    ):
        assert place.storage.read(uri, start, end) == body[start:end], (start, end)
    assert place.storage.read(uri, len(body) + 5) == b""


def test_an_empty_object_is_an_object(place: Place, tmp_path: Path) -> None:
    uri = join(place.root, "empty")
    place.storage.put(uri, b"")
    assert place.storage.read(uri) == b""
    assert place.storage.stat(uri).size == 0
    place.storage.fetch(uri, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b""


def test_the_version_that_was_listed_is_the_one_that_is_fetched(place: Place, tmp_path: Path) -> None:
    small, large = join(place.root, "v/small"), join(place.root, "v/large")
    place.storage.put(small, b"one")
    place.storage.put(large, bytes(9 << 20))  # larger than the pieces that some servers store
    listed = list(place.storage.list(join(place.root, "v")))
    assert [entry.uri for entry in listed] == [large, small]
    for entry in listed:
        assert place.storage.stat(entry.uri).etag == entry.etag
        place.storage.fetch(entry.uri, tmp_path / "fetched", etag=entry.etag)
        assert (tmp_path / "fetched").stat().st_size == entry.size
    place.storage.put(small, b"other")
    with pytest.raises(DocumentError) as caught:
        place.storage.fetch(small, tmp_path / "fetched", etag=listed[1].etag)
    assert caught.value.code.code == "FETCH_CHANGED"
    assert not (tmp_path / "fetched").exists()


def test_stat_tells_size_and_time_and_an_etag_of_the_content(place: Place) -> None:
    uri = join(place.root, "x")
    place.storage.put(uri, b"one")
    first = place.storage.stat(uri)
    assert (first.uri, first.size) == (uri, 3)
    assert first.mtime is not None
    assert first.mtime.utcoffset() is not None
    assert '"' not in first.etag
    assert [first] == list(place.storage.list(uri))
    place.storage.put(uri, b"two")
    assert place.storage.stat(uri).etag != first.etag


def test_what_is_not_there_is_not_found(place: Place, tmp_path: Path) -> None:
    missing = join(place.root, "no/such")
    place.storage.put(join(missing, "below"), b"x")  # a folder of the name is no object
    assert not place.storage.exists(missing)
    for call in (
        lambda: place.storage.read(missing),
        lambda: place.storage.stat(missing),
        lambda: place.storage.fetch(missing, tmp_path / "fetched"),
        lambda: place.storage.copy_if_absent(join(missing, "source"), join(place.root, "y")),
    ):
        with pytest.raises(NotFoundError, match="no/such") as caught:
            call()
        assert caught.value.remedy
    assert not (tmp_path / "fetched").exists()


def test_delete_can_be_repeated(place: Place) -> None:
    uri = join(place.root, "x")
    place.storage.put(uri, b"1")
    assert place.storage.exists(uri)
    place.storage.delete(uri)
    assert not place.storage.exists(uri)
    place.storage.delete(uri)
    with pytest.raises(NotFoundError):
        place.storage.delete(uri, missing_ok=False)


# Listing

NAMES = ["Z", "a-b/x", "a.b", "a/c", "a/c d+%41?.png", "a/é", "a0", "b/_hidden/1", "b/.dot", "ﬀ", "𝔞"]  # noqa: RUF001 - beyond 16 bits on purpose


def test_listing_is_complete_and_names_each_file_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocrbatch.storage.s3.PAGE", 4)  # several pages
    for name in reversed(NAMES):
        place.storage.put(join(place.root, name), b"x")
    assert sorted(place.names()) == sorted(NAMES)
    assert place.names() == place.names(), "in the same order each time"
    assert place.names("b") == ["b/.dot", "b/_hidden/1"]


def test_the_names_after_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocrbatch.storage.s3.PAGE", 2)  # several pages
    log = join(place.root, "log")
    assert list(place.storage.names_after(log, "3.json")) == []
    for number in range(9):
        place.storage.put(join(log, f"{number}.json"), b"x")
    place.storage.put(join(place.root, "log2/9.json"), b"x")
    assert sorted(place.storage.names_after(log, "3.json")) == [f"{n}.json" for n in (4, 5, 6, 7, 8)]
    assert list(place.storage.names_after(log, "8.json")) == []


@pytest.mark.s3
def test_the_first_file_comes_with_the_first_page(
    faulty: Place, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocrbatch.storage.s3.PAGE", 2)
    for number in range(7):
        faulty.storage.put(join(faulty.root, str(number)), b"x")
    listed = faulty.storage.list(faulty.root)
    assert next(listed).uri == join(faulty.root, "0")
    assert sum("list-type=2" in path for _, path in proxy.seen) == 1
    assert len(list(listed)) == 6


def test_a_prefix_ends_at_a_slash(place: Place) -> None:
    for name in ("in/x", "input2/x", "in.png"):
        place.storage.put(join(place.root, name), b"x")
    assert place.names("in") == place.names("in") == ["in/x"]
    assert [entry.uri for entry in place.storage.list(join(place.root, "in") + "/")] == [join(place.root, "in/x")]
    assert place.names("in.png") == ["in.png"]
    assert place.names("inp") == []


def test_globs(place: Place) -> None:
    for name in ("2024/a.png", "2024/b.pdf", "2024/deep/c.png", "2025/d.png", "e.png", "x/2024/f.png"):
        place.storage.put(join(place.root, name), b"x")
    assert place.names("*.png") == ["e.png"]
    assert place.names("202?/*.png") == ["2024/a.png", "2025/d.png"]
    assert place.names("2024/**/*.png") == ["2024/a.png", "2024/deep/c.png"]
    assert place.names("20[0-9][!5]") == ["2024/a.png", "2024/b.pdf", "2024/deep/c.png"]  # a folder with all it holds
    assert place.names("**/*.pdf") == ["2024/b.pdf"]
    assert place.names("no*such") == []


def test_a_name_with_glob_characters_is_taken_literally_first(place: Place) -> None:
    for name in ("scan [1].png", "scan 1.png", "box[2]/a", "box2/a"):
        place.storage.put(join(place.root, name), b"x")
    assert place.names("scan [1].png") == ["scan [1].png"]
    assert place.names("box[2]") == ["box[2]/a"]
    assert place.names("scan [0-9].png") == ["scan 1.png"]


@pytest.mark.s3
def test_folder_markers_are_no_objects(seaweed: SeaweedServer, moto_s3: S3Server) -> None:
    for server in (seaweed, moto_s3):
        bucket = server.bucket()
        server.client().put_object(Bucket=bucket, Key="in/", Body=b"")
        server.client().put_object(Bucket=bucket, Key="in/x", Body=b"1")
        storage = Storage(server.config())
        assert [entry.uri for entry in storage.list(f"s3://{bucket}")] == [f"s3://{bucket}/in/x"]
        assert [entry.uri for entry in storage.list(f"s3a://{bucket}/in/")] == [f"s3a://{bucket}/in/x"]


# Exclusive creation


def test_one_of_sixteen_threads_wins(place: Place) -> None:
    for turn in range(2):  # a loser waits up to 5 s: SeaweedFS's lock is polled each second
        uri, start = join(place.root, f"log/{turn:012d}.json"), threading.Barrier(16)
        bodies = [f"{turn} {uuid.uuid4()}".encode() for _ in range(16)]

        def create(body: bytes, uri: str = uri, start: threading.Barrier = start) -> bool:
            start.wait()
            return place.storage.put_if_absent(uri, body)

        with ThreadPoolExecutor(16) as threads:
            won = list(threads.map(create, bodies))
        assert won.count(True) == 1
        assert place.storage.read(uri) == bodies[won.index(True)]
    assert place.names("log") == [f"log/{turn:012d}.json" for turn in range(2)]


def test_my_own_object_counts_as_won_and_anothers_as_lost(place: Place) -> None:
    uri = join(place.root, "log/1")
    assert place.storage.put_if_absent(uri, b"mine")
    assert place.storage.put_if_absent(uri, b"mine")
    assert not place.storage.put_if_absent(uri, b"else")
    assert not place.storage.put_if_absent(uri, b"longer")
    assert place.storage.read(uri) == b"mine"


def test_a_copy_never_replaces(place: Place) -> None:
    source, final = join(place.root, "staging/1"), join(place.root, "pages/part-1")
    place.storage.put(source, b"rows")
    assert place.storage.copy_if_absent(source, final)
    assert place.storage.copy_if_absent(source, final)
    place.storage.put(join(place.root, "staging/2"), b"same length"[:4])
    assert not place.storage.copy_if_absent(join(place.root, "staging/2"), final)
    place.storage.delete(source)
    assert place.storage.read(final) == b"rows"
    place.storage.put(source, b"rows")  # another file with the same bytes
    assert place.storage.copy_if_absent(source, final)


def test_the_probe_accepts_and_leaves_nothing(place: Place) -> None:
    place.storage.probe_exclusive_create(join(place.root, "_probe"))
    assert place.names() == []


@pytest.mark.s3
def test_the_probe_refuses_a_store_that_ignores_conditions(moto_s3: S3Server) -> None:
    proxy = FaultProxy(moto_s3)  # moto checks no signatures, so a header may be taken out
    proxy.faults.append(Fault("unconditional", "PUT", times=10))
    place = Place(Storage(moto_s3.config(endpoint_url=proxy.endpoint)), f"s3://{moto_s3.bucket()}/out")
    with pytest.raises(OutputInconsistentError, match="exclusive"):
        place.storage.probe_exclusive_create(join(place.root, "_probe"))
    assert place.names() == []
    proxy.stop()


# Faults


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["lost", "reset", "status"])
def test_a_create_survives_faults_and_knows_that_it_won(faulty: Place, proxy: FaultProxy, kind: str) -> None:
    uri = join(faulty.root, "log/1")
    proxy.faults.append(Fault(kind, "PUT", "log/1", times=2))
    assert faulty.storage.put_if_absent(uri, b"mine") is True
    sent = [method for method, path in proxy.seen if method == "PUT" and "log/1" in path]
    # A lost reply is found by reading. aiohttp may repeat the PUT by itself; that one fails on its own object.
    assert len(sent) <= 2 if kind == "lost" else len(sent) >= 3
    assert faulty.storage.put_if_absent(uri, b"else") is False


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["lost", "reset", "status"])
def test_a_create_knows_that_it_lost_whatever_the_reply(faulty: Place, proxy: FaultProxy, kind: str) -> None:
    uri = join(faulty.root, "log/1")
    faulty.storage.put(uri, b"theirs")
    proxy.faults.append(Fault(kind, "PUT", "log/1"))
    assert faulty.storage.put_if_absent(uri, b"mine") is False
    assert faulty.storage.read(uri) == b"theirs"


@pytest.mark.s3
def test_a_create_gives_up_as_a_storage_error(faulty: Place, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault("status", "PUT", times=100))
    with pytest.raises(StorageError, match="SlowDown"):
        faulty.storage.put_if_absent(join(faulty.root, "log/1"), b"mine")
    assert len([1 for method, _ in proxy.seen if method == "PUT"]) == 1 + faulty.storage.config.retries


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["truncate", "reset", "status"])
def test_reads_are_repeated(faulty: Place, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
    uri, body = join(faulty.root, "x"), b"0123456789" * 300_000
    faulty.storage.put(uri, body)
    proxy.faults.append(Fault(kind, "GET", "/x", times=2))
    assert faulty.storage.read(uri) == body
    proxy.faults.append(Fault(kind, "GET", "/x", times=2))
    faulty.storage.fetch(uri, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == body
    proxy.faults.append(Fault("status", "GET", "list-type", times=2))
    assert faulty.names() == ["x"]


@pytest.mark.s3
def test_a_body_that_stays_short_is_an_error_and_leaves_no_file(
    faulty: Place, proxy: FaultProxy, tmp_path: Path
) -> None:
    uri = join(faulty.root, "x")
    faulty.storage.put(uri, b"0123456789" * 1000)
    proxy.faults.append(Fault("truncate", "GET", "/x", times=100))
    with pytest.raises(StorageError, match="out/x"):
        faulty.storage.fetch(uri, tmp_path / "fetched")
    with pytest.raises(StorageError):
        faulty.storage.read(uri)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.s3
def test_fetch_keeps_its_time_limit(faulty: Place, proxy: FaultProxy, tmp_path: Path) -> None:
    uri = join(faulty.root, "x")
    faulty.storage.put(uri, b"0123456789" * 1000)
    proxy.faults.append(Fault("slow", "GET", "/x", times=9, seconds=3))
    with pytest.raises(DocumentError) as caught:
        faulty.storage.fetch(uri, tmp_path / "fetched", timeout=0.5)
    assert caught.value.code.code == "FETCH_TIMEOUT"
    assert list(tmp_path.iterdir()) == []


def test_fetch_keeps_its_size_limit(place: Place, tmp_path: Path) -> None:
    uri = join(place.root, "x")
    place.storage.put(uri, b"0123456789")
    place.storage.fetch(uri, tmp_path / "fits", max_bytes=10)
    with pytest.raises(DocumentError) as caught:
        place.storage.fetch(uri, tmp_path / "fetched", max_bytes=9)
    assert caught.value.code.code == "FILE_TOO_LARGE"
    assert not (tmp_path / "fetched").exists()


@pytest.mark.s3
def test_a_dead_endpoint_is_a_storage_error(seaweed: SeaweedServer) -> None:
    storage = Storage(seaweed.config(endpoint_url="http://127.0.0.1:9", retries=1))
    with pytest.raises(StorageError, match="did not answer") as caught:
        storage.read("s3://bucket/x")
    assert type(caught.value) is StorageError


# Credentials


@pytest.mark.s3
def test_two_sides_keep_their_credentials_apart(seaweed: SeaweedServer) -> None:
    bucket = seaweed.bucket()
    good, bad = Storage(seaweed.config()), Storage(seaweed.config(secret="not-the-secret-at-all"))
    for turn in range(2):
        assert good.put_if_absent(f"s3://{bucket}/{turn}", b"x")
        for call in (
            lambda: bad.read(f"s3://{bucket}/0"),
            lambda: list(bad.list(f"s3://{bucket}/")),
            lambda: bad.put_if_absent(f"s3://{bucket}/mine", b"x"),
            lambda: bad.put(f"s3://{bucket}/mine", b"x"),
        ):
            with pytest.raises(AccessDeniedError) as caught:
                call()
            assert "not-the-secret-at-all" not in str(caught.value) + caught.value.remedy
            assert "secret" in caught.value.remedy
    assert [entry.uri for entry in good.list(f"s3://{bucket}")] == [f"s3://{bucket}/0", f"s3://{bucket}/1"]


@pytest.mark.s3
def test_credentials_that_have_expired_say_so_to_every_call(faulty: Place, proxy: FaultProxy, tmp_path: Path) -> None:
    uri = join(faulty.root, "x")
    faulty.storage.put(uri, b"1")
    proxy.expired = True
    for call in (
        lambda: faulty.storage.stat(uri),  # a HEAD, whose reply has no body that would tell why
        lambda: faulty.storage.exists(uri),
        lambda: faulty.storage.read(uri),
        lambda: faulty.storage.fetch(uri, tmp_path / "fetched"),
        faulty.names,
        lambda: faulty.storage.put(uri, b"2"),
        lambda: faulty.storage.put_if_absent(uri, b"2"),
        lambda: faulty.storage.delete(uri),
    ):
        with pytest.raises(CredentialsError, match="the credentials have expired") as caught:
            call()
        assert "Renew" in caught.value.remedy
    proxy.expired = False
    assert faulty.storage.read(uri) == b"1"


@pytest.mark.s3
def test_the_usual_variables_work(s3_env: S3Server) -> None:
    bucket = s3_env.bucket()
    Storage().put(f"s3://{bucket}/x", b"1")
    assert Storage(StorageConfig(region="eu-west-1")).exists(f"s3://{bucket}/x")
    with pytest.raises(AccessDeniedError):
        Storage(StorageConfig(key="somebody", secret="else")).read(f"s3://{bucket}/x")
    with pytest.raises(AccessDeniedError):
        Storage(StorageConfig(anon=True)).read(f"s3://{bucket}/x")


@pytest.mark.s3
def test_fsspecs_variables_work(seaweed: SeaweedServer) -> None:
    bucket = seaweed.bucket()
    Storage(seaweed.config()).put(f"s3://{bucket}/x", b"found")
    variables = {
        "FSSPEC_S3_ENDPOINT_URL": seaweed.endpoint, "FSSPEC_S3_KEY": seaweed.key, "FSSPEC_S3_SECRET": seaweed.secret
    }  # fmt: skip
    script = f"from ocrbatch.storage import Storage; print(Storage().read('s3://{bucket}/x').decode())"
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "found\n", done.stderr


@pytest.mark.s3
def test_a_role_is_assumed_and_survives_pickling(moto_s3: S3Server) -> None:
    storage = Storage(moto_s3.config(role_arn="arn:aws:iam::123456789012:role/reader"))
    uri = f"s3://{moto_s3.bucket()}/x.parquet"
    storage.put(uri, b"x")
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.exists(uri)
    fs = copy._backend(uri).fs  # type: ignore[attr-defined]
    credentials = sync(fs.loop, fs.session.get_credentials)
    assert sync(fs.loop, credentials.get_access_key).startswith("ASIA")  # a temporary key of STS


# Other processes


@pytest.mark.s3
def test_a_storage_works_again_after_pickling_and_after_a_fork(seaweed: SeaweedServer) -> None:
    uri = f"s3://{seaweed.bucket()}/x"
    storage = Storage(seaweed.config())
    storage.put(uri, b"1")
    script = f"""
        import os, pickle, sys
        storage = pickle.loads(bytes.fromhex({pickle.dumps(storage).hex()!r}))
        assert storage.read({uri!r}) == b"1"
        child = os.fork()
        if child == 0:
            os._exit(0 if storage.read({uri!r}) == b"1" else 1)
        sys.exit(os.waitpid(child, 0)[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
