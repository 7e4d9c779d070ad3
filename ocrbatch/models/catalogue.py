"""The official names that the registry knows, with their files and carriers.

Invariant: a name has one entry, and every file of an entry has a pinned SHA-256.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from ocrbatch.errors import ModelError

Role = Literal["model", "params", "config", "characters"]


@dataclass(frozen=True, slots=True)
class Carrier:
    """A package that holds weights. folder: its top-level folder once installed; extra: what installs it, if any."""

    name: str
    version: str
    folder: str
    extra: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model. path: below the carrier's folder."""

    role: Role
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. task: detection, recognition, ...; carrier None: only the hub has it, and nothing is pinned."""

    name: str
    task: str
    carrier: Carrier | None = None
    files: tuple[ModelFile, ...] = ()


@cache
def _entries() -> dict[str, Entry]:
    text = resources.files("ocrbatch.models").joinpath("registry.yaml").read_text("utf8")
    tree: dict[str, Any] = yaml.safe_load(text)
    carriers = {
        name: Carrier(name, value["version"], value["folder"], value.get("extra"))
        for name, value in tree["carriers"].items()
    }
    found = {
        name: Entry(
            name,
            value["task"],
            carriers[value["carrier"]],
            tuple(ModelFile(role, file["path"], file["sha256"]) for role, file in value["files"].items()),
        )
        for name, value in tree["models"].items()
    }
    return found | {name: Entry(name, task) for task, names in tree["hub"].items() for name in names}


def catalogue() -> list[Entry]:
    """Every model that has an official name here: those with pinned files first, then those of the hub."""
    return list(_entries().values())


def entry(name: str) -> Entry:
    """The model of this name. Raises ModelError that lists near names."""
    known = _entries()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ModelError(f"there is no model named {name!r}", f"{hint}`ocrbatch models list` names them all.")
