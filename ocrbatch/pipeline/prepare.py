"""What a config means on this machine, before anything is started: checked, its engine settled, its inputs at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.engines.registry import Choice
from ocrbatch.errors import UsageError
from ocrbatch.records import Document
from ocrbatch.sources import listing, manifest
from ocrbatch.storage import Storage


@dataclass(slots=True)
class Inputs:
    """What the config names. extra: the manifest's pass-through columns, known once `documents` was called."""

    config: JobConfig
    storage: Storage
    extra: list[pa.Field] = field(default_factory=list)

    def documents(self) -> Iterator[Document]:
        """The documents, listed anew at every call; raises UsageError where there is nothing to list."""
        if self.config.input.manifest:
            found = manifest.read(self.config.input, self.storage)
            self.extra = found.extra
            return found.documents
        return listing.documents(self.config.input, self.storage)


def check(config: JobConfig) -> None:
    """Raises UsageError where the config lacks what every run needs."""
    if not config.output.uri:
        raise UsageError("there is no output", "Give --output, or output.uri in the config.")
    if not config.input.uris and not config.input.manifest:
        raise UsageError("there is no input", "Give --input, --manifest, or input.uris in the config.")
    parse_pages(config.documents.pages)


def settled(config: JobConfig, choice: Choice) -> JobConfig:
    """The config with the engine, device and precision that `auto` means here, so that every worker takes the same."""
    engine = config.engine.model_copy(
        update={"name": choice.name, "device": choice.options.device, "precision": choice.options.precision}
    )
    return config.model_copy(update={"engine": engine})


def models(config: JobConfig) -> list[str]:
    """Official names of the weights that the task uses."""
    names = {"ocr": ("detection", "recognition"), "detect": ("detection",), "recognize": ("recognition",)}
    return [getattr(config, section).model_name for section in names[config.task]]


def new_run_id() -> str:
    """Sorts by time: 20261121T101500-1a2b3c."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
