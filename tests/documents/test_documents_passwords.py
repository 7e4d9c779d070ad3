"""Passwords come from variables and files, by pattern, and stay out of every message."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocrbatch.config import PasswordRule
from ocrbatch.documents.passwords import candidates
from ocrbatch.errors import UsageError


def test_rules_apply_by_pattern_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HR_KEY", " with spaces ")
    (tmp_path / "keys").write_text("\ufeffeins\r\n\r\nzwei\nÜber\neins\n", encoding="utf8")
    rules = [
        PasswordRule(pattern="s3://lake/hr/*", env="HR_KEY"),
        PasswordRule(pattern="*.pdf", file=str(tmp_path / "keys")),
        PasswordRule(pattern="*", env="HR_KEY"),
    ]
    assert candidates(rules, "s3://lake/hr/a/b.pdf") == [" with spaces ", "eins", "zwei", "Über"]
    assert candidates(rules[:2], "s3://lake/x.PDF") == []
    assert candidates([], "a.pdf") == []


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="NO_SUCH_VARIABLE_HERE"):
        candidates([PasswordRule(env="NO_SUCH_VARIABLE_HERE")], "a.pdf")
    assert candidates([PasswordRule(pattern="*.tif", env="NO_SUCH_VARIABLE_HERE")], "a.pdf") == []
    with pytest.raises(UsageError, match="/no/such/file"):
        candidates([PasswordRule(file="/no/such/file")], "a.pdf")


def test_a_file_that_is_not_text_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"s3cret\xff\xfe\n")
    with pytest.raises(UsageError) as caught:
        candidates([PasswordRule(file=str(tmp_path / "keys"))], "a.pdf")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
