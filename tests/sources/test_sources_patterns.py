"""Globs, include and exclude, and what a name says."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.errors import UsageError
from ocrbatch.sources.patterns import Filter, compile_glob, named_otherwise, split_glob


def glob(pattern: str, path: str) -> bool:
    return compile_glob(pattern).match(path) is not None


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.png", "a.png", True),
        ("*.png", "a/b.png", False),
        ("*.png", "a.png.txt", False),
        ("*", "a/b/c.png", True),  # a shell would pass on the folder a
        ("2024-*", "2024-01/x/y.png", True),
        ("**/*.png", "a.png", True),
        ("**/*.png", "a/b/c.png", True),
        ("a/**/c.png", "a/c.png", True),
        ("a/**/c.png", "a/b/b/c.png", True),
        ("a/**/c.png", "ab/c.png", False),
        ("a/**", "a/b/c.png", True),
        ("a/**", "b/c.png", False),
        ("?.png", "a.png", True),
        ("?.png", "ab.png", False),
        ("a?b", "a/b", False),
        ("[a-c].png", "b.png", True),
        ("[!a-c].png", "b.png", False),
        ("[!a-c].png", "d.png", True),
        ("a[!x]b", "a/b", False),
        ("[]].png", "].png", True),
        ("[ab", "[ab", True),
        ("*.PNG", "a.png", False),
        ("a.png", "axpng", False),
        ("a\nb*", "a\nb.png", True),
    ],
)
def test_glob(pattern: str, path: str, expected: bool) -> None:
    assert glob(pattern, path) is expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.png", "a/b/c.png", True),  # without a slash: any name on the path
        ("drafts", "2024/drafts/c.png", True),
        ("drafts/", "2024/drafts/c.png", True),
        ("drafts", "2024/my-drafts/c.png", False),
        ("2024/*.png", "2024/a.png", True),  # with one: from the root
        ("2024/*.png", "x/2024/a.png", False),
        ("/a.png", "a.png", True),
        ("/a.png", "x/a.png", False),
        ("**/raw/*", "x/raw/a.png", True),
        ("scans.zip", "in/scans.zip!/a.png", True),  # an archive: all that is in it
        ("*.zip", "in/scans.zip!/a.png", True),
        ("*.png", "in/scans.zip!/a/b.png", True),
        ("in/scans.zip!/a/*", "in/scans.zip!/a/b.png", True),
        ("in/scans.zip/a/*", "in/scans.zip!/a/b.png", True),
        ("in/scans.zip!/a/*", "in/scans.zip!/c/b.png", False),
    ],
)
def test_rules(pattern: str, path: str, expected: bool) -> None:
    assert Filter.of([pattern], []).keeps(path) is expected
    assert Filter.of([], [pattern]).keeps(path) is not expected
    assert Filter.of([], [pattern]).drops(path) is expected


def valid(pattern: str) -> bool:
    """Whether it is a pattern at all: in `[b-a]` nothing lies between the two."""
    try:
        compile_glob(pattern)
    except UsageError:
        return False
    return True


names = st.text("ab.[]*?!-", min_size=1, max_size=6).filter(lambda n: n not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
patterns = names.filter(valid)


@given(paths)
def test_no_rules_keep_everything(path: str) -> None:
    assert Filter.of([], []).keeps(path)
    assert Filter.of(["**"], []).keeps(path)
    assert not Filter.of(["**"], ["**"]).keeps(path)


@given(paths, st.lists(patterns, max_size=3), st.lists(patterns, max_size=3))
def test_exclude_beats_include(path: str, include: list[str], exclude: list[str]) -> None:
    both = Filter.of(include, exclude).keeps(path)
    assert both == (Filter.of(include, []).keeps(path) and Filter.of([], exclude).keeps(path))


@pytest.mark.parametrize("pattern", ["[b-a]", "x/[?-.].png", "[!b-a]"])
def test_a_pattern_that_is_none_is_an_error_that_names_it(pattern: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(pattern))) as caught:
        Filter.of([pattern], [])
    assert "[[]" in caught.value.remedy


@given(
    patterns.filter(lambda n: "**" not in n and "!" not in n),
    names.filter(lambda n: "!" not in n),
)
def test_one_name_agrees_with_fnmatch(pattern: str, name: str) -> None:
    """Where there is no slash and no `**`, a glob means what Python's own means."""
    assert glob(pattern, name) == fnmatch.fnmatchcase(name, pattern)


@given(paths, paths)
def test_literal_pattern_matches_itself_and_what_is_below(path: str, other: str) -> None:
    literal = "".join(f"[{c}]" if c in "*?[" else c for c in path)
    assert glob(literal, path)
    assert glob(literal, path + "/x")
    assert glob(literal, other) == (other == path or other.startswith(path + "/"))


def test_globs_agree_with_pathlib(tmp_path: Path) -> None:
    files = ["a.png", "b.pdf", "x/a.png", "x/y/a.png", "x/y/b.pdf", "x/yy/c.png", "z1/a.png"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ["*.png", "**/*.png", "x/**/*.png", "x/*/a.png", "[a-b].p*", "z?/*", "x/y*/*.png"]:
        found = {str(p.relative_to(tmp_path)) for p in tmp_path.glob(pattern) if p.is_file()}
        assert {f for f in files if glob(pattern, f)} == found, pattern


def test_split_glob() -> None:
    assert split_glob("s3://lake/in/2024-*/x.png") == ("s3://lake/in/", "2024-*/x.png")
    assert split_glob("*.png") == ("", "*.png")
    assert split_glob("/a/b[1]/c.png") == ("/a/", "b[1]/c.png")


@pytest.mark.parametrize(
    "name",
    [
        "a.json",
        "a.JSONL",
        "s3://b/x/labels.csv",
        "a.tar.md5",
        "x/.DS_Store",
        "Thumbs.db",
        "_SUCCESS",
        "README",
        "._scan.png",
        ".part-0.crc",
    ],
)
def test_named_otherwise(name: str) -> None:
    assert named_otherwise(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "a",
        "a.fuzz",
        "json",
        ".json.d/scan",
        "x.json/page.tif",
        "a.csv.pdf",
        "a.zip",
        ".hidden",
        "scan.001",
        ".csv",
    ],
)
def test_named_as_a_document_may_be(name: str) -> None:
    assert not named_otherwise(name)
