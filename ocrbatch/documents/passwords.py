"""Passwords of encrypted PDFs, read where they are used: they never stand in a config, a row, a log or a command line.

The only place that reads a variable or a file for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ocrbatch.config import PasswordRule
from ocrbatch.errors import UsageError


def candidates(rules: Sequence[PasswordRule], uri: str) -> list[str]:
    """The passwords to try for the document `uri`, in the rules' order, each once.

    A rule applies if its pattern matches the whole URI (`*` matches `/` too). A file gives one password a line.
    Raises UsageError that names the variable or file which is missing, never what is in it.
    """
    found: dict[str, None] = {}
    for rule in rules:
        if fnmatchcase(uri, rule.pattern):
            found.update(dict.fromkeys(_read(rule)))
    return list(found)


def require(rules: Sequence[PasswordRule]) -> None:
    """Raises UsageError where a rule's variable or file is missing."""
    for rule in rules:
        _read(rule)


def _read(rule: PasswordRule) -> list[str]:
    if rule.env is not None:
        password = os.environ.get(rule.env)
        if password is None:
            raise UsageError(
                f"documents.passwords: the variable {rule.env} is not set",
                "Set it here and where the decode workers run (on a cluster, by the job's runtime environment), or "
                "give --set documents.passwords=[] if it is not needed any more.",
            )
        return [password] if password else []
    path = Path(rule.file or "")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        # Not `from error`: a decoding error carries the file's bytes.
        raise UsageError(
            f"documents.passwords: can't read the file {path}: {cause}", "It must be readable on every worker."
        ) from None
    return [line for line in lines if line]
