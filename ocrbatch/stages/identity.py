"""What a run's results depend on, and the refusal of a worker that would compute other ones."""

from __future__ import annotations

from dataclasses import dataclass

from ocrbatch.config import JobConfig, fingerprint
from ocrbatch.documents.versions import versions
from ocrbatch.engines.registry import choose, identity
from ocrbatch.errors import UsageError
from ocrbatch.reading.reader import models_of, resolved


@dataclass(frozen=True, slots=True)
class Identity:
    """What the process that was asked would compute with.

    config: with the engine, device and precision that `auto` means there, so that every worker takes the same. engine:
    its build and all of it that can change a bit. models: names of the weights. decoders: versions of what decodes.
    why: one sentence on the choice of the engine.
    """

    config: JobConfig
    fingerprint: str
    engine: dict[str, str]
    models: list[str]
    decoders: dict[str, str]
    why: str


def identify(config: JobConfig) -> Identity:
    """Resolves a config on this machine; loads no model. Raises UsageError, ModelError, MissingExtraError."""
    choice = choose(config.engine)
    fixed = {"name": choice.name, "device": choice.options.device, "precision": choice.options.precision}
    config = config.model_copy(update={"engine": config.engine.model_copy(update=fixed)})
    return Identity(
        config, fingerprint(config, resolved(config)), identity(choice), models_of(config), versions(), choice.why
    )


def check_fingerprint(config: JobConfig, expected: str) -> None:
    """Raises UsageError where this process would give other results than the run has promised."""
    found = resolved(config)
    own = fingerprint(config, found)
    if own != expected:
        raise _other(f"fingerprint {own}, not {expected}: {found}")


def check_decoders(expected: dict[str, str]) -> None:
    """Raises UsageError where this process would decode with other versions. Its engine doesn't matter."""
    if (own := versions()) != expected:
        raise _other(f"decoders {own}, not {expected}")


def _other(what: str) -> UsageError:
    return UsageError(
        f"this worker would give other results ({what})",
        "Install the same versions on every node; on a mix of processors set engine.isa_cap and engine.precision.",
    )
