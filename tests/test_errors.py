"""Every failure says what happened, and what to do about it."""

from __future__ import annotations

import pytest

from ocrbatch.errors import FAILURE_CODES, DocumentError, FailureCode


@pytest.mark.parametrize("code", FAILURE_CODES.values(), ids=lambda code: code.code)
def test_every_code_has_a_cause_and_a_remedy(code: FailureCode) -> None:
    assert code.stage
    assert code.cause.endswith(".")
    assert code.remedy.endswith(".")
    assert DocumentError(code.code, "it failed").remedy == code.remedy
    assert not code.retryable or "again" in code.remedy, "what may pass says that it is tried again"
