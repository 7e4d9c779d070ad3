"""Files, folders, globs and buckets as documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources_containers import zip_bytes

from ocrbatch.config import InputConfig
from ocrbatch.errors import UsageError
from ocrbatch.sources.listing import documents
from ocrbatch.storage import Storage

Put = Callable[..., Path]
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
    one, two = str(tmp_path / "in/one.zip!/"), str(tmp_path / "in/two.zip!/")
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
def test_what_does_not_exist_is_named(given: str, storage: Storage, tree: Path, put: Put) -> None:
    put("tree/a.zip", zip_bytes({"b.png": b""}))
    storage.put("memory://tree/a.png", b"")
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


def test_any_scheme(storage: Storage) -> None:
    for name in ("in/a.png", "in/x/b.png", "other/c.png"):
        storage.put(f"memory://listing/{name}", b"x")
    assert uris(storage, "memory://listing/in") == ["memory://listing/in/a.png", "memory://listing/in/x/b.png"]
    assert uris(storage, "memory://listing/*/?.png", "memory://listing/in/a.png") == [
        "memory://listing/in/a.png",
        "memory://listing/other/c.png",
    ]


def test_names_that_are_not_utf8(storage: Storage, put: Put, tmp_path: Path) -> None:
    from ocrbatch.config import DocumentsConfig
    from ocrbatch.sources.fetching import fetch

    folder = tmp_path / "odd"
    folder.mkdir()
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.png"), "wb") as file:
        file.write(b"1")
    (document,) = documents(InputConfig(uris=(str(folder),)), storage)
    assert document.uri.encode() == os.fsencode(folder) + rb"/caf\udce9.png"
    assert fetch(document, storage, tmp_path, DocumentsConfig()).read_bytes() == b"1"
