"""The profile: a config of the tuned keys alone, under a comment that says how they were found.

Invariant: an existing file is only ever replaced where it is a profile itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml

from ocrbatch.errors import UsageError
from ocrbatch.report.escaping import escaped

FIRST: Final = "# A profile of `ocrbatch tune`"
OTHER: Final = "Name another file with --output-profile."


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
    if path.exists() and not _is_profile(path):
        raise UsageError(f"{path} is there already and no profile", OTHER)
    with _writing(path):
        _beside(path).touch()
        _beside(path).unlink()


def write(path: Path, body: str) -> None:
    """Puts the profile in place, whole or not at all. Raises UsageError."""
    with _writing(path):
        _beside(path).write_text(body, encoding="utf8")
        _beside(path).replace(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            _beside(path).unlink(missing_ok=True)
        raise UsageError(f"can't write the profile {path}: {error.strerror}", OTHER) from error


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _is_profile(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(FIRST)) in {b"", FIRST.encode()}
