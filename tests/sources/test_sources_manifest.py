"""Manifests in each format."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources_containers import Put, PutMemory, failing, zip_bytes

from ocrbatch.config import InputConfig
from ocrbatch.errors import CredentialsError, StorageError, UsageError
from ocrbatch.records import Document
from ocrbatch.sources import manifest as manifests
from ocrbatch.sources.manifest import _rows, read
from ocrbatch.storage import Entry, Storage


@pytest.fixture
def folder(put: Put, tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "x/c.png", "x/d.pdf"):
        put(name, name.encode())
    put("s.zip", zip_bytes({"p/1.png": b"1", "2.png": b"22"}))
    return tmp_path


def load(storage: Storage, manifest: Path | str, **config: Any) -> tuple[list[Document], list[pa.Field]]:
    found = read(InputConfig(manifest=str(manifest), **config), storage)
    return list(found.documents), found.extra


def names(found: list[Document], folder: Path) -> list[str]:
    return [d.uri.removeprefix(f"{folder}/") for d in found]


def test_txt(storage: Storage, put: Put, folder: Path) -> None:
    text = f"\ufeff# scans\r\n a.png \r\n\r\n{folder}/b.png\nfile://{folder}/x/c.png\nx/../x/d.pdf\na.png\n"
    found, extra = load(storage, put("list.txt", text.encode()))
    assert names(found, folder) == ["a.png", "b.png", "x/c.png", "x/d.pdf"]
    assert extra == []
    assert found[0] == Document(
        f"{folder}/a.png", storage.stat(f"{folder}/a.png").etag, 5, storage.stat(f"{folder}/a.png").mtime
    )


def test_csv(storage: Storage, put: Put, folder: Path) -> None:
    text = '\ufeffcustomer,uri,number\n"Smith, J.",a.png,007\n"two\nlines",b.png,\n'
    found, extra = load(storage, put("list.csv", text.encode()))
    assert extra == [pa.field("customer", pa.string()), pa.field("number", pa.string())]
    assert [d.extra for d in found] == [
        {"customer": "Smith, J.", "number": "007"},
        {"customer": "two\nlines", "number": ""},
    ]


def test_jsonl(storage: Storage, put: Put, folder: Path) -> None:
    rows = [{"uri": "a.png", "n": 1, "tags": ["x"], "none": None, "empty": []}, {"uri": "b.png", "n": 2.5, "new": True}]
    found, extra = load(storage, put("list.jsonl", "\n".join(map(json.dumps, rows)).encode()))
    assert {f.name: f.type for f in extra} == {
        "n": pa.float64(),
        "tags": pa.list_(pa.string()),
        "none": pa.string(),
        "empty": pa.list_(pa.string()),
        "new": pa.bool_(),
    }
    assert found[1].extra == {"n": 2.5, "tags": None, "none": None, "empty": None, "new": True}


def test_empty_objects_are_kept_as_json(storage: Storage, put: Put, folder: Path) -> None:
    rows = [{"uri": "a.png", "e": {}, "n": {"a": {}}, "m": [{}]}, {"uri": "b.png"}]
    found, extra = load(storage, put("list.jsonl", "\n".join(map(json.dumps, rows)).encode()))
    assert {f.type for f in extra} == {pa.string()}
    assert found[0].extra == {"e": "{}", "n": '{"a": {}}', "m": "[{}]"}
    assert found[1].extra == {"e": None, "n": None, "m": None}


def test_parquet(storage: Storage, tmp_path: Path, folder: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1, 2], pa.timestamp("ms")),
            "path": pa.array(["a.png", "b.png"]).dictionary_encode(),
            "kind": pa.array(["k", None]).dictionary_encode(),
            "n": pa.array([1, None], pa.int16()),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    found, extra = load(storage, tmp_path / "list.parquet", uri_column="path")
    assert extra == [pa.field("when", pa.timestamp("ms")), pa.field("kind", pa.string()), pa.field("n", pa.int16())]
    assert names(found, folder) == ["a.png", "b.png"]
    assert [d.extra["n"] for d in found] == [1, None]


def test_archives_members_and_folders(storage: Storage, put: Put, folder: Path) -> None:
    text = "uri,tag\ns.zip!/2.png,member\nx,folder\ns.zip!/none.png,absent\n"
    found, _ = load(storage, put("list.csv", text.encode()))
    assert [(n, d.extra["tag"]) for n, d in zip(names(found, folder), found, strict=True)] == [
        ("s.zip!/2.png", "member"),
        ("x/c.png", "folder"),
        ("x/d.pdf", "folder"),
        ("s.zip!/none.png", "absent"),
    ]
    assert found[0].size == 2
    assert found[3].etag == ""
    found, _ = load(storage, put("list.txt", b"s.zip\nx/\n"), include=("*.png",))
    assert names(found, folder) == ["s.zip!/p/1.png", "s.zip!/2.png", "x/c.png"]


def test_what_is_missing_becomes_a_failure(storage: Storage, put: Put, folder: Path) -> None:
    put("broken.zip", b"no zip")
    text = "a.png\nabsent.png\nmemory://absent/x.png\nabsent.zip\nabsent.zip!/a.png\ns.zip!/absent.png\nbroken.zip!/a.png\nbroken.zip!/b.png\n"
    found, _ = load(storage, put("list.txt", text.encode()))
    assert [d.uri for d in found] == [x if "://" in x else f"{folder}/{x}" for x in text.split()]
    assert [bool(d.etag) for d in found] == [True] + [False] * 7
    codes = [failing(storage, document, folder).code.code for document in found[1:]]
    assert codes == ["FETCH_NOT_FOUND"] * 5 + ["ARCHIVE_BROKEN"] * 2


def test_globs_are_taken_literally(storage: Storage, put: Put, folder: Path) -> None:
    put("scan[1].png")
    found, _ = load(storage, put("list.txt", b"scan[1].png\n*.png\n"))
    assert [(n, bool(d.etag)) for n, d in zip(names(found, folder), found, strict=True)] == [
        ("scan[1].png", True),
        ("*.png", False),
    ]


def test_include_and_exclude(storage: Storage, put: Put, folder: Path) -> None:
    manifest = put("list.txt", b"a.png\nb.png\nx/c.png\nx/d.pdf\n")
    assert names(load(storage, manifest, include=("x/*",), exclude=("*.pdf",))[0], folder) == ["x/c.png"]


def test_the_same_document_twice(storage: Storage, put: Put, folder: Path) -> None:
    found, _ = load(storage, put("list.csv", f"uri,n\na.png,1\nb.png,1\n{folder}/a.png,1\n".encode()))
    assert names(found, folder) == ["a.png", "b.png"]
    with pytest.raises(UsageError, match=r"a\.png twice"):
        load(storage, put("list.csv", b"uri,n\na.png,1\nb.png,1\na.png,2\n"))


def test_many_rows_keep_their_order(storage: Storage, put: Put, folder: Path) -> None:
    for i in range(2500):
        if i % 7:
            put(f"many/{i}.png")
    found, _ = load(
        storage, put("list.csv", ("uri,n\n" + "".join(f"many/{i}.png,{i}\n" for i in range(2500))).encode())
    )
    assert [int(d.extra["n"]) for d in found] == list(range(2500))
    assert [bool(d.etag) for d in found] == [bool(i % 7) for i in range(2500)]


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("list.csv", b"path,n\na.png,1\n", "no column 'uri'; its columns: path, n"),
        ("list.csv", b"", "can't be read"),
        ("list.csv", b"uri,n\na.png,1,2\n", "can't be read"),
        ("list.csv", b"uri,n,n\na.png,1,2\n", "more than one column n"),
        ("list.csv", b"uri,width\na.png,1\n", "width"),
        ("list.csv", b"uri,n\na.png,1\n,2\n", "row 2"),
        ("list.jsonl", b'{"uri": "a.png"}\n{"uri": \n', "can't be read"),
        ("list.jsonl", b'{"uri": 1}\n', "not text"),
        ("list.jsonl", b'{"uri": "a.png"}\n{"n": 1}\n', "row 2"),
        ("list.parquet", b"PAR1", "can't be read"),
        ("list.txt", b"\xff\xfe", "can't be read"),
        ("list.xlsx", b"", "none of the known formats"),
        ("list", b"", "none of the known formats"),
    ],
)
def test_errors_name_the_manifest_and_the_fault(
    name: str, body: bytes, says: str, storage: Storage, put: Put, folder: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        load(storage, put(name, body))
    assert says in str(caught.value)
    assert caught.value.remedy


def test_no_manifest(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.csv"):
        load(storage, tmp_path / "absent.csv")
    with pytest.raises(UsageError):
        read(InputConfig(), storage)


def test_closing_ends_the_threads_and_what_they_were_to_do(
    storage: Storage, put: Put, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    closing = threading.Event()
    first, stat = f"{folder}/0.png", storage.stat

    def slow(uri: str) -> Entry:
        """Only the first one is answered before the threads are told to end."""
        looked.append(uri)
        assert uri == first or closing.wait(60)
        return stat(uri)

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            closing.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(storage, "stat", slow)
    monkeypatch.setattr(manifests, "ThreadPoolExecutor", Pool)
    manifest = put("list.txt", "".join(f"{i}.png\n" for i in range(1000)).encode())
    before = threading.active_count()
    found = read(InputConfig(manifest=str(manifest)), storage).documents
    assert next(found).uri == first
    found.close()
    assert threading.active_count() == before
    assert len(looked) <= manifests._THREADS + 1


@pytest.mark.parametrize("url", ["https://user:pw@h/a/list.csv", "https://h/a/list.csv?sig=abc/def"])
def test_credentials_of_the_manifest_do_not_come_into_the_rows(url: str, storage: Storage) -> None:
    with pytest.raises(UsageError, match=r"the manifest https://h/a/list\.csv has a query or a user part"):
        read(InputConfig(manifest=url), storage)


@pytest.mark.parametrize(
    "row", ["x.png?sig=abc", "https://h/x.png?sig=abc", "https://u:abc@h/x.png", "s3n://u:abc@b/x", "s3://u:/abc@b/x"]
)
def test_rows_are_checked_as_they_are_used(row: str) -> None:
    """A question mark in a relative path is a query once the manifest's folder stands in front of it."""
    with pytest.raises(UsageError, match="query or a user part") as caught:
        list(_rows(pa.table({"uri": [row]}), [], "uri", "https://h/a/"))
    assert "abc" not in str(caught.value)


def test_a_web_host_must_be_allowed() -> None:
    def read_row(row: str, folder: str = "/lists/", hosts: tuple[str, ...] = ()) -> list[str]:
        return [uri for uri, _ in _rows(pa.table({"uri": [row]}), [], "uri", folder, hosts)]

    inside = "https://a.example.org/x.png"
    assert read_row(inside, hosts=("*.example.org",)) == [inside]
    assert read_row("x.png", "https://a.example.org/lists/") == ["https://a.example.org/lists/x.png"]
    assert read_row(inside, "https://a.example.org/lists/") == [inside]
    for row in (inside, "http://169.254.169.254/latest/meta-data", "http://[::1]/x.png", "https:///x.png"):
        with pytest.raises(UsageError, match=r"row 1 .* input\.storage\.http_hosts does not allow"):
            read_row(row, hosts=("*.example.com", "b.example.org"))
        with pytest.raises(UsageError, match=r"row 1 .* input\.storage\.http_hosts does not allow"):
            read_row(row, "https://h/lists/")


@pytest.mark.parametrize("row", ["/etc/x.png", "file:///etc/x.png", "FILE://localhost/etc/x.png", "local:///etc/x.png"])
def test_a_manifest_from_the_web_names_no_file_of_this_machine(row: str) -> None:
    rows = _rows(pa.table({"uri": [row]}), [], "uri", "https://h/lists/", ("*",))
    with pytest.raises(UsageError, match=r"file .* of this machine"):
        list(rows)
    for folder in ("/lists/", "s3://bucket/lists/"):
        assert [uri for uri, _ in _rows(pa.table({"uri": [row]}), [], "uri", folder)] == [row]


def test_credentials_that_have_expired_make_no_document_of_a_row(
    storage: Storage, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(uri: str) -> None:
        raise CredentialsError("expired")

    manifest = put("list.txt", b"a.png\n")
    monkeypatch.setattr(storage, "stat", expired)
    with pytest.raises(CredentialsError):
        load(storage, manifest)


def test_documents_as_they_are_now(storage: Storage, put: Put, folder: Path) -> None:
    text = "uri,shelf\na.png,1\nx/c.png,2\ns.zip,3\nt.zip,4\nb.png,5\n"
    put("t.zip", b"no archive")
    before, _ = load(storage, put("list.csv", text.encode()))
    put("a.png", b"another a")
    (folder / "x/c.png").unlink()
    put("s.zip", zip_bytes({"2.png": b"two"}))
    put("t.zip", zip_bytes({"3.png": b"3"}))
    now = {d.uri.removeprefix(f"{folder}/"): d for d in manifests.current(before, InputConfig(), storage)}
    assert list(now) == ["a.png", "x/c.png", "s.zip!/p/1.png", "s.zip!/2.png", "t.zip!/3.png", "b.png"]
    assert [d.extra["shelf"] for d in now.values()] == ["1", "2", "3", "3", "4", "5"]
    old = {d.uri.removeprefix(f"{folder}/"): d for d in before}
    assert {name for name in now if now[name] == old.get(name)} == {"b.png"}
    assert [name for name in now if not now[name].etag] == ["x/c.png", "s.zip!/p/1.png"], "they are gone"
    assert (now["a.png"].size, now["a.png"].etag) == (9, storage.stat(f"{folder}/a.png").etag)


def test_a_document_that_can_not_be_looked_up_stays_as_it_was(
    storage: Storage, put: Put, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = load(storage, put("list.txt", b"a.png\nb.png\n"))
    put("b.png", b"another b")
    stat = storage.stat

    def unwell(uri: str) -> Entry:
        if uri.endswith("a.png"):
            raise StorageError("503")
        return stat(uri)

    monkeypatch.setattr(storage, "stat", unwell)
    now = list(manifests.current(before, InputConfig(), storage))
    assert (now[0], now[1].size) == (before[0], 9)


@pytest.mark.parametrize("suffix", [".txt", ""])
def test_a_manifest_must_be_a_file(storage: Storage, tmp_path: Path, suffix: str) -> None:
    """A pipe would hang, or be empty at the second reading."""
    pipe, below = tmp_path / f"pipe{suffix}", tmp_path / f"folder{suffix}"
    os.mkfifo(pipe)
    below.mkdir()
    for path in (pipe, below):
        with pytest.raises(UsageError, match="is a folder, a pipe or a device"):
            load(storage, path)


def test_empty_manifest(storage: Storage, put: Put, folder: Path) -> None:
    assert load(storage, put("list.txt", b"# nothing\n")) == ([], [])
    assert load(storage, put("list.csv", b"uri,n\n"))[0] == []


def test_remote(storage: Storage, put_memory: PutMemory) -> None:
    put_memory("memory://lake/in/a.png", b"1")
    put_memory("memory://lake/list.txt", b"in/a.png\nmemory://lake/in/b.png\nin/\n")
    found, _ = load(storage, "memory://lake/list.txt")
    assert [d.uri for d in found] == ["memory://lake/in/a.png", "memory://lake/in/b.png"]
