"""The profile: a config of the tuned keys alone, under a comment that says how they were found.

Invariant: an existing file is only ever replaced where it is a profile itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from ocrbatch.errors import UsageError
from ocrbatch.report.escaping import escaped

FIRST: Final = "# A profile of `ocrbatch tune`"


def text(settings: Mapping[str, Any], said: Iterable[str]) -> str:
    """The profile as YAML. settings: keys of the config and their values. said: lines of its comment."""
    tree: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    comment = "".join(f"# {escaped(line)}\n" for line in said)
    return f"{FIRST}, for `ocrbatch run --profile`\n{comment}{yaml.safe_dump(tree, sort_keys=False)}"


def check(path: Path) -> None:
    """Raises UsageError where the profile can't be written to this path, before anything is measured."""
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} of the profile does not exist", "Create it, or name another file.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"the profile {path} can't be written", "Name another file with --output-profile.")
    if path.exists() and not _is_profile(path):
        raise UsageError(f"{path} is there already and no profile", "Name another file with --output-profile.")


def write(path: Path, body: str) -> None:
    """Puts the profile in place, whole or not at all. Raises UsageError."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_text(body, encoding="utf8")
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError(f"can't write the profile {path}: {error.strerror}", "Name another file.") from error


def _is_profile(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(FIRST)) in {b"", FIRST.encode()}
