"""Files, folders, globs and buckets as documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from servers import S3Server
from sources_containers import Put, PutMemory, zip_bytes

from ocrbatch.config import DocumentsConfig, InputConfig, StorageConfig
from ocrbatch.errors import UsageError
from ocrbatch.sources.fetching import fetch, fetched
from ocrbatch.sources.listing import documents
from ocrbatch.sources.manifest import read
from ocrbatch.storage import Storage

TREE = ["a.png", "b.pdf", ".hidden.png", "_under.png", "x/a.png", "x/y/a.png", "x/y/b.pdf", "z/notes.txt"]


@pytest.fixture
def tree(put: Put, tmp_path: Path) -> Path:
    for name in TREE:
        put(f"tree/{name}", name.encode())
    return tmp_path / "tree"


def uris(storage: Storage, *given: Path | str, **config: Any) -> list[str]:
    return [d.uri for d in documents(InputConfig(uris=tuple(map(str, given)), **config), storage)]


def below(root: Path, *names: str) -> list[str]:
    return sorted(str(root / n) for n in names)


def test_folder(storage: Storage, tree: Path) -> None:
    assert uris(storage, tree) == uris(storage, f"{tree}/") == below(tree, *TREE)


def test_documents_carry_what_the_listing_says(storage: Storage, tree: Path) -> None:
    (document,) = documents(InputConfig(uris=(str(tree / "a.png"),)), storage)
    entry = storage.stat(str(tree / "a.png"))
    assert (document.etag, document.size, document.mtime) == (entry.etag, 5, entry.mtime)
    assert document.extra == {}
    assert document.mtime is not None
    assert document.mtime.tzinfo is not None


def test_uris_are_absolute_paths(storage: Storage, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "x")
    for given in ("y", "./y", "../x/y/", "file://" + str(tree / "x/y"), "y/*", "*/a.png", "y/b.pdf"):
        found = uris(storage, given)
        assert found
        assert set(found) <= set(below(tree, "x/y/a.png", "x/y/b.pdf")), given


def test_links_keep_their_name(storage: Storage, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    assert uris(storage, tmp_path / "link/a.png") == [str(tmp_path / "link/a.png")]
    assert uris(storage, tmp_path / "link") == below(tmp_path / "link", *TREE)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.png", ["a.png", ".hidden.png", "_under.png"]),
        ("**/*.pdf", ["b.pdf", "x/y/b.pdf"]),
        ("x/*", ["x/a.png", "x/y/a.png", "x/y/b.pdf"]),  # as a shell, which passes on the folder x/y
        ("[xz]", ["x/a.png", "x/y/a.png", "x/y/b.pdf", "z/notes.txt"]),
        ("x/?/a.*", ["x/y/a.png"]),
    ],
)
def test_globs(glob: str, expected: list[str], storage: Storage, tree: Path) -> None:
    assert uris(storage, tree / glob) == below(tree, *expected)


def test_a_name_that_exists_is_no_glob(storage: Storage, put: Put, tmp_path: Path) -> None:
    put("scan[1].png")
    put("scan1.png")
    put("in*/a.png")
    put("inner/a.png")
    assert uris(storage, tmp_path / "scan[1].png") == [str(tmp_path / "scan[1].png")]
    assert uris(storage, tmp_path / "in*") == [str(tmp_path / "in*/a.png")]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"include": ("*.pdf",)}, ["b.pdf", "x/y/b.pdf"]),
        ({"include": ("*.pdf", "x/*")}, ["b.pdf", "x/a.png", "x/y/a.png", "x/y/b.pdf"]),
        ({"exclude": ("y", ".*", "_*")}, ["a.png", "b.pdf", "x/a.png", "z/notes.txt"]),
        ({"include": ("x",), "exclude": ("*.pdf",)}, ["x/a.png", "x/y/a.png"]),
        ({"include": ("nothing",)}, []),
    ],
)
def test_include_and_exclude(config: dict[str, Any], expected: list[str], storage: Storage, tree: Path) -> None:
    assert uris(storage, tree, **config) == below(tree, *expected)


def test_include_in_archives(storage: Storage, put: Put, tmp_path: Path) -> None:
    body = zip_bytes({"p/a.png": b"1", "p/a.txt": b"2", "q/b.png": b"3"})
    put("in/one.zip", body)
    put("in/two.zip", body)
    one, two = f"{tmp_path}/in/one.zip!/", f"{tmp_path}/in/two.zip!/"
    root = tmp_path / "in"
    assert uris(storage, root, include=("*.txt",)) == [one + "p/a.txt", two + "p/a.txt"]
    assert uris(storage, root, include=("one.zip",)) == [one + "p/a.png", one + "p/a.txt", one + "q/b.png"]
    assert uris(storage, root, exclude=("one.zip", "q")) == [two + "p/a.png", two + "p/a.txt"]
    assert uris(storage, root / "one.zip", exclude=("one.zip!/p/*",)) == [one + "q/b.png"]
    assert uris(storage, one + "p/a.txt") == [one + "p/a.txt"]
    assert uris(storage, one + "**/*.png", two + "q") == [one + "p/a.png", one + "q/b.png", two + "q/b.png"]
    assert uris(storage, str(root / "*.zip!/q/b.png")) == [one + "q/b.png", two + "q/b.png"]


def test_each_document_comes_once(storage: Storage, tree: Path) -> None:
    assert uris(storage, tree / "x/y", tree, tree / "*.png", tree / "a.png", f"file://{tree}/a.png") == [
        *below(tree, "x/y/a.png", "x/y/b.pdf"),
        *below(tree, *(n for n in TREE if not n.startswith("x/y/"))),
    ]
    assert uris(storage, tree / "b.pdf", tree / "a.png", tree / "b.pdf") == [str(tree / "b.pdf"), str(tree / "a.png")]


@pytest.mark.parametrize(
    "given",
    [
        "absent.png",
        "absent/",
        "absent/*.png",
        "*.gif",
        "x/a.png/b",
        "a.zip!/absent.png",
        "memory://absent/x",
        "memory://tree/*.gif",
    ],
)
def test_what_does_not_exist_is_named(
    given: str, storage: Storage, put_memory: PutMemory, tree: Path, put: Put
) -> None:
    put("tree/a.zip", zip_bytes({"b.png": b""}))
    put_memory("memory://tree/a.png", b"")
    uri = given if "://" in given else f"{tree}/{given}"
    with pytest.raises(UsageError) as caught:
        uris(storage, tree / "a.png", uri)
    assert uri in str(caught.value)
    assert caught.value.remedy


def test_nothing_given(storage: Storage, tmp_path: Path) -> None:
    for given in [(), ("",)]:
        with pytest.raises(UsageError):
            list(documents(InputConfig(uris=given), storage))
    (tmp_path / "inbox").mkdir()
    assert uris(storage, tmp_path / "inbox") == []


def test_any_scheme(storage: Storage, put_memory: PutMemory) -> None:
    for name in ("in/a.png", "in/x/b.png", "other/c.png"):
        put_memory(f"memory://listing/{name}", b"x")
    assert uris(storage, "memory://listing/in") == ["memory://listing/in/a.png", "memory://listing/in/x/b.png"]
    assert uris(storage, "memory://listing/*/?.png", "memory://listing/in/a.png") == [
        "memory://listing/in/a.png",
        "memory://listing/other/c.png",
    ]


def test_names_that_are_not_utf8(storage: Storage, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd/caf\xe9.png"))
    path.parent.mkdir()
    path.write_bytes(b"1")
    (document,) = documents(InputConfig(uris=(str(path.parent),)), storage)
    assert document.uri == f"file://{tmp_path}/odd/caf%E9.png"
    assert fetch(document, storage, tmp_path, DocumentsConfig()).path.read_bytes() == b"1"
    assert uris(storage, document.uri, path) == [document.uri]
    assert uris(storage, path.parent, include=("caf?.png",)) == [document.uri]


def test_bad_pattern(storage: Storage, tree: Path) -> None:
    with pytest.raises(UsageError, match=r"\[z-a\]"):
        uris(storage, tree, include=("[z-a].png",))
    with pytest.raises(UsageError, match=r"\[z-a\]"):
        uris(storage, tree / "[z-a].png")


@pytest.mark.s3
def test_s3(s3_env: S3Server, tmp_path: Path) -> None:
    """What a disk gives, a bucket gives: folders, globs, archives by ranges, and their bytes."""
    storage, bucket = Storage(StorageConfig()), s3_env.bucket()
    body = zip_bytes({"p/1.png": b"1" * 5000, "2.png": b"22"})
    rows = b"uri,n\nin/a.png,1\nin/x/,2\nin/z.png,3\n"
    parts = {"in/a.png": b"a", "in/x/b.png": b"b", "in/x/s.zip": body, "in2/c.png": b"c", "list.csv": rows}
    for name, content in parts.items():
        storage.put(f"s3://{bucket}/{name}", content)
    root = f"s3://{bucket}/"
    members = [f"{root}in/x/s.zip!/p/1.png", f"{root}in/x/s.zip!/2.png"]
    assert (
        uris(storage, f"{root}in") == uris(storage, f"{root}in/") == [f"{root}in/a.png", f"{root}in/x/b.png", *members]
    )
    assert uris(storage, f"{root}in*/?.png") == [f"{root}in/a.png", f"{root}in2/c.png"]
    assert uris(storage, f"{root}in/**/*.zip", members[0]) == members
    assert uris(storage, root.rstrip("/"), include=("in/x/*.png", "2.png")) == [f"{root}in/x/b.png", members[1]]
    for absent in (f"{root}inn", f"{root}in/*.gif", "s3://absent-" + bucket):
        with pytest.raises(UsageError):
            uris(storage, absent)
    for document in documents(InputConfig(uris=(f"{root}in/x",)), storage):
        with fetched(document, storage, tmp_path, DocumentsConfig()) as path:
            assert path.read_bytes() == {members[0]: b"1" * 5000, members[1]: b"22"}.get(document.uri, b"b")
    manifest = read(InputConfig(manifest=f"{root}list.csv"), storage)
    found = [(d.uri, bool(d.etag), d.extra["n"]) for d in manifest.documents]
    assert found == [
        (f"{root}in/a.png", True, "1"),
        (f"{root}in/x/b.png", True, "2"),
        (members[0], True, "2"),
        (members[1], True, "2"),
        (f"{root}in/z.png", False, "3"),
    ]


def test_an_input_that_is_no_file(storage: Storage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match="is a pipe, socket or device"):
        list(documents(InputConfig(uris=(str(tmp_path / "pipe.png"),)), storage))
