"""What a run's results depend on, and the refusal of a worker that would compute other ones."""

from __future__ import annotations

from ocrbatch.config import JobConfig, fingerprint
from ocrbatch.errors import UsageError
from ocrbatch.reading.reader import resolved


def resolve_fingerprint(config: JobConfig) -> str:
    """The fingerprint of results made in this process, on this machine. Loads no model."""
    return fingerprint(config, resolved(config))


def check_fingerprint(config: JobConfig, expected: str) -> None:
    """Raises UsageError where this process would give other results than the run has promised."""
    own = resolve_fingerprint(config)
    if own != expected:
        raise UsageError(
            f"this worker would give other results (fingerprint {own}, not {expected}): {resolved(config)}",
            "Install the same versions on every node; on a mix of processors set engine.isa_cap and engine.precision.",
        )
