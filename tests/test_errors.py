"""Every failure says what happened, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocrbatch.errors import FAILURE_CODES, DocumentError, FailureCode


@pytest.mark.parametrize("code", FAILURE_CODES.values(), ids=lambda code: code.code)
def test_every_code_has_a_cause_and_a_remedy(code: FailureCode) -> None:
    assert code.stage
    assert code.cause.endswith(".")
    assert code.remedy.endswith(".")
    assert DocumentError(code.code, "it failed").remedy == code.remedy
    assert not code.retryable or "again" in code.remedy, "what may pass says that it is tried again"


def test_every_code_has_its_line_in_the_docs() -> None:
    lines = (Path(__file__).parents[1] / "FAILURES.md").read_text(encoding="utf8").splitlines()
    table = {
        line.split("`")[1]: [cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line.startswith("| `")
    }
    assert list(table) == list(FAILURE_CODES)
    for name, (again, cause, example, remedy) in table.items():
        code = FAILURE_CODES[name]
        assert (again == "yes", cause, remedy) == (code.retryable, code.cause, code.remedy)
        assert example.endswith(".")
