"""Rows of pages/ and failures/ with a value in every column that must have one; a test names what it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def page_row(**changes: object) -> dict[str, Any]:
    """A page with one line of text."""
    return {
        "uri": "a.png", "etag": "e", "page_index": 0, "page_count": 1, "status": "ok", "width": 9, "height": 9,
        "texts": ["a"], "scores": [0.5], "polygons": [[0, 0, 9, 0, 9, 5, 0, 5]], "boxes": [[0, 0, 9, 5]],
        "det_scores": [0.9], "line_angles": [-1], "rejected_polygons": [], "text": "a", "fingerprint": "f",
        "models": ["m"], "schema_version": 1, "run_id": "r", "document_mtime": datetime(2026, 11, 20, tzinfo=UTC),
    } | changes  # fmt: skip


def failure_row(**changes: object) -> dict[str, Any]:
    """A document that could not be opened, and may be another time."""
    return {
        "uri": "a.png", "etag": "e", "page_index": None, "code": "FETCH_FAILED", "stage": "fetch", "message": "m",
        "remedy": "mend it", "retryable": True, "attempt": 1, "run_id": "r", "fingerprint": "f",
    } | changes  # fmt: skip
