"""YAML that would take for ever, or all memory, is refused at once and in words."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.config import load, load_file
from ocrbatch.errors import UsageError
from ocrbatch.safe_yaml import MAX_DEPTH, MAX_VALUES, TooMuchError, parse

TENFOLD = ",".join(["*{0}"] * 10)


def tenfold(start: str, step: str) -> str:
    """Ten lines, each with ten aliases of the line before."""
    names = "abcdefghij"
    lines = [f"a: &a {start}"]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} " + step.format(TENFOLD.format(before)))
    return "\n".join(lines)


BOMBS = {
    "aliases": (tenfold("[x, x]", "[{}]"), "values"),
    "merges": (tenfold("{k: v}", "{{<<: [{}]}}"), "values"),
    "itself": ("engine: {options: &a {b: *a}}", "within what it names"),
    "brackets": ("engine: " + "[" * 500_000, "deep"),
    "dashes": ("- " * 300_000, "deep"),
    "braces": ("{a: " * 100_000, "deep"),
    "list": ("input:\n  uris:\n" + "  - a\n" * 100_000, "values"),
    "number": ("a: 1" + ":59" * 300_000, "value has more"),
    "text": ("#" * 2_000_000, "characters"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str) -> None:
    text, word = BOMBS[name]
    started = time.process_time()
    with pytest.raises(UsageError, match=word) as caught:
        load(text, source="c.yaml")
    assert time.process_time() - started < 3  # where nothing is counted, minutes or for ever
    assert str(caught.value).startswith("c.yaml: ")
    if len(text) < 100_000:
        with pytest.raises(UsageError):
            load("", [f"engine.options={text}"])


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(UsageError, match="characters"):
        load_file(Path("/dev/zero"))


def test_an_alias_may_stand_for_a_section() -> None:
    config = load("input: {storage: &s {key: k, secret: s}}\noutput: {storage: *s}")
    assert config.output.storage == config.input.storage
    assert config.output.storage.key is not None


def test_objects_are_not_made() -> None:
    with pytest.raises(UsageError, match="not valid YAML at line 1"):
        load("!!python/object/apply:os.system ['true']")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)


@given(tree=VALUES)
def test_what_is_in_bounds_is_what_the_safe_loader_gives(tree: object) -> None:
    text = yaml.safe_dump([tree, tree])  # with aliases
    assert parse(text) == yaml.safe_load(text)


def test_the_bounds_are_met_exactly() -> None:
    assert len(parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)) <= 1
    with pytest.raises(TooMuchError):
        parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    tenth = "[" + "x," * (MAX_VALUES // 10 - 1) + "]"  # with the list itself
    nine = ", *a" * 9
    assert len(parse(f"[&a {tenth[:-3]}]{nine}]")) == 10
    with pytest.raises(TooMuchError):
        parse(f"[&a {tenth}{nine}]")
