"""Bytes to a local file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from servers import S3Server
from sources_containers import FILES, LIMITS, Put, PutMemory, failing, zip_bytes

from ocrbatch.config import DocumentsConfig, InputConfig
from ocrbatch.errors import AccessDeniedError, CredentialsError, DiskFullError, DocumentError, StorageError
from ocrbatch.records import Document
from ocrbatch.sources.fetching import LocalFile, fetch, fetched, require_same
from ocrbatch.sources.listing import documents
from ocrbatch.sources.manifest import read
from ocrbatch.storage import Storage


def test_a_file_on_this_disk_is_handed_out_itself(storage: Storage, put: Put, tmp_path: Path) -> None:
    path = put("a.png", b"body")
    with fetched(Document(str(path), storage.stat(str(path)).etag), storage, tmp_path, LIMITS) as found:
        assert found == path
    assert path.read_bytes() == b"body"


def test_an_original_is_no_copy_whatever_its_name(storage: Storage, put: Put, tmp_path: Path) -> None:
    path = put("fetched-0.png", b"body")
    with fetched(Document(str(path), storage.stat(str(path)).etag), storage, tmp_path, LIMITS):
        pass
    assert path.read_bytes() == b"body"


def test_a_folder_may_be_called_as_an_archive_with_a_bang(storage: Storage, put: Put, tmp_path: Path) -> None:
    path = put("in/scans.zip!/a.png", b"body")
    (document,) = documents(InputConfig(uris=(str(tmp_path / "in"),)), storage)
    assert fetch(document, storage, tmp_path, LIMITS) == LocalFile(path, is_copy=False)


@pytest.mark.parametrize("inside", ["../../outside.png", "../outside.png", "x/../../../outside.png"])
def test_a_members_name_leads_nowhere(storage: Storage, put: Put, tmp_path: Path, inside: str) -> None:
    """Also where a file lies just where the name, taken for a path, would lead."""
    archive = put("in/deep/scans.zip", zip_bytes({inside: b"member"}))
    lure = Path(os.path.normpath(f"{archive}!/{inside}"))
    lure.write_bytes(b"lure")
    (document,) = documents(InputConfig(uris=(str(archive),)), storage)
    with fetched(document, storage, tmp_path, LIMITS) as found:
        assert found.read_bytes() == b"member"
    nameless = replace(document, etag="", uri=f"{archive}!/{inside}x.png")
    Path(os.path.normpath(nameless.uri)).write_bytes(b"lure")
    assert failing(storage, nameless, tmp_path).code.code == "FETCH_NOT_FOUND"


def test_what_no_document_is_at_fault_for_ends_the_run(
    storage: Storage, put: Put, put_memory: PutMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> Callable[..., None]:
        def call(*_: object, **__: object) -> None:
            raise error

        return call

    for error in (CredentialsError("expired"), DiskFullError("full")):
        monkeypatch.setattr(storage, "fetch", fail(error))
        with pytest.raises(type(error)):
            fetch(Document("memory://fetch/a.png", ""), storage, tmp_path, LIMITS)
    monkeypatch.undo()
    (document,) = documents(InputConfig(uris=(str(put("a.zip", zip_bytes({"a.png": b"x"}))),)), storage)
    with pytest.raises(DiskFullError, match="no room to unpack"):
        fetch(document, storage, Path(_full(monkeypatch, tmp_path)), LIMITS)


def _full(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """The folder, in which no new file takes a byte: /dev/full stands for each."""
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", **more: opened(Path("/dev/full"), "wb", buffering=0)
        if mode == "xb" else opened(path, mode, **more),
    )  # fmt: skip
    return folder


def test_a_remote_file_is_copied_and_the_copy_deleted(storage: Storage, put_memory: PutMemory, tmp_path: Path) -> None:
    put_memory("memory://fetch/a.png", b"body")
    (document,) = documents(InputConfig(uris=("memory://fetch/a.png",)), storage)
    with fetched(document, storage, tmp_path, LIMITS) as found:
        assert found.parent == tmp_path
        assert found.read_bytes() == b"body"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), fetched(document, storage, tmp_path, LIMITS):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_not_found(storage: Storage, put: Put, tmp_path: Path) -> None:
    put("a.png")
    (tmp_path / "dir.png").mkdir()
    for uri in (f"{tmp_path}/b.png", f"{tmp_path}/a.png/b.png", f"{tmp_path}/dir.png", "memory://absent/a.png"):
        assert failing(storage, Document(uri, "e"), tmp_path).code.code == "FETCH_NOT_FOUND"


def test_too_large(storage: Storage, put_memory: PutMemory, put: Put, tmp_path: Path) -> None:
    limits = DocumentsConfig(max_bytes=10)
    put_memory("memory://fetch/large.png", b"x" * 11)
    for uri in (str(put("large.png", b"x" * 11)), "memory://fetch/large.png"):
        assert failing(storage, Document(uri, "e"), tmp_path, limits).code.code == "FILE_TOO_LARGE"
        assert failing(storage, Document(uri, "e", size=11), tmp_path, limits).code.code == "FILE_TOO_LARGE"
    small = str(put("small.png", b"x" * 10))
    assert fetch(Document(small, storage.stat(small).etag), storage, tmp_path, limits).path.name == "small.png"


@pytest.mark.parametrize(
    ("error", "expected"), [(AccessDeniedError("no"), "FETCH_DENIED"), (StorageError("reset"), "FETCH_FAILED")]
)
def test_storage_errors(
    error: StorageError,
    expected: str,
    storage: Storage,
    put_memory: PutMemory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for uri in ("memory://fetch/a.png", "memory://fetch/a.zip"):
        put_memory(uri, zip_bytes({"a": b"1"}))
    found = list(documents(InputConfig(uris=("memory://fetch/a.png", "memory://fetch/a.zip")), storage))

    def fail(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr(storage, "fetch", fail)
    monkeypatch.setattr(storage, "read_version", fail)
    assert [failing(storage, d, tmp_path).code.code for d in found] == [expected, expected]


def test_members_have_a_time_limit(storage: Storage, put: Put, tmp_path: Path) -> None:
    (document,) = documents(InputConfig(uris=(str(put("a.zip", zip_bytes({"a": b"1" * 100}))),)), storage)
    assert failing(storage, document, tmp_path, DocumentsConfig(fetch_timeout=1e-9)).code.code == "FETCH_TIMEOUT"


def test_an_archive_that_is_readable_again_is_to_be_listed_again(storage: Storage, put: Put, tmp_path: Path) -> None:
    path = put("a.zip", b"no zip")
    (document,) = documents(InputConfig(uris=(str(path),)), storage)
    assert document.uri == str(path)
    put("a.zip", zip_bytes({"a": b"1"}))
    assert failing(storage, document, tmp_path).code.code == "FETCH_FAILED"
    assert failing(storage, replace(document, uri=f"{path}!/a", etag=""), tmp_path).code.code == "FETCH_FAILED"
    assert failing(storage, replace(document, uri=f"{path}!/b", etag=""), tmp_path).code.code == "FETCH_NOT_FOUND"


def test_a_file_that_was_replaced_after_it_was_listed(storage: Storage, put: Put, tmp_path: Path) -> None:
    path = put("a.png", b"old")
    (document,) = documents(InputConfig(uris=(str(path),)), storage)
    assert fetch(document, storage, tmp_path, LIMITS) == LocalFile(path, is_copy=False)
    put("a.png", b"newer")
    assert failing(storage, document, tmp_path).code.code == "FETCH_CHANGED"


@pytest.mark.parametrize("kind", ["disk", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_file_that_was_missing_when_it_was_listed_is_never_read(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It has no etag, so the next run, which knows one, would read it again."""
    storage, uri = Storage(), str(tmp_path / "late.png")
    if kind == "memory":
        uri = f"memory://{tmp_path.name}/late.png"
    elif kind == "s3":
        server: S3Server = request.getfixturevalue("seaweed")
        storage, uri = Storage(server.config()), f"s3://{server.bucket()}/late.png"
    manifest = tmp_path / "list.txt"
    manifest.write_text(uri)
    (document,) = read(InputConfig(manifest=str(manifest)), storage).documents
    assert failing(storage, document, tmp_path).code.code == "FETCH_NOT_FOUND"
    fsspec.filesystem("memory").pipe_file(uri, b"late") if kind == "memory" else storage.put(uri, b"late")
    late = failing(storage, document, tmp_path)
    assert (late.code.code, late.code.retryable) == ("FETCH_CHANGED", True)
    (document,) = read(InputConfig(manifest=str(manifest)), storage).documents
    with fetched(document, storage, tmp_path, LIMITS) as found:
        assert found.read_bytes() == b"late"


def test_threads(storage: Storage, put: Put, tmp_path: Path) -> None:
    """More archives than stay open, read by several threads at once: every member whole."""
    for i in range(4):
        put(f"in/{i}.zip", zip_bytes(FILES))
    found = list(documents(InputConfig(uris=(str(tmp_path / "in"),)), storage))
    wrong: list[str] = []

    def work(start: int) -> None:
        for document in found[start:] + found[:start]:
            try:
                with fetched(document, storage, tmp_path, LIMITS) as path:
                    if path.read_bytes() != FILES[document.uri.partition("!/")[2]]:
                        wrong.append(document.uri)
            except BaseException as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(5 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_original_that_was_replaced_while_it_was_read(storage: Storage, put: Put, tmp_path: Path) -> None:
    path = put("a.png", b"old")
    (document,) = documents(InputConfig(uris=(str(path),)), storage)
    file = fetch(document, storage, tmp_path, LIMITS)
    require_same(document, file, storage)
    path.write_bytes(b"new, and longer")
    with pytest.raises(DocumentError, match="was replaced") as caught:
        require_same(document, file, storage)
    assert caught.value.code.code == "FETCH_CHANGED"
    require_same(document, LocalFile(path, is_copy=True), storage)
    path.unlink()
    require_same(document, file, storage)
