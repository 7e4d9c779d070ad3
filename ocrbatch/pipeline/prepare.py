"""What a config means on this machine, before anything is started: checked, its engine settled, its inputs at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.engines.registry import Choice
from ocrbatch.errors import UsageError
from ocrbatch.records import Document
from ocrbatch.schema import PAGES
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sources import listing, manifest
from ocrbatch.storage import Storage, is_writable, join, local_path, scheme


@dataclass(slots=True)
class Inputs:
    """What the config names. extra: the manifest's pass-through columns, known once `documents` was called."""

    config: JobConfig
    storage: Storage
    extra: list[pa.Field] = field(default_factory=list)

    def documents(self) -> Iterator[Document]:
        """The documents, listed anew at every call; raises UsageError where there is nothing to list.

        What lies in the output is none, also where the output is a folder of the input.
        """
        if self.config.input.manifest:
            read = manifest.read(self.config.input, self.storage)
            self.extra = read.extra
            found = read.documents
        else:
            found = listing.documents(self.config.input, self.storage)
        own = listing.absolute(self.config.output.uri, self.storage).rstrip("/") + "/"
        return (document for document in found if not document.uri.startswith(own))


def check(config: JobConfig) -> None:
    """Raises UsageError where the config lacks what every run needs."""
    if not config.output.uri:
        raise UsageError("there is no output", "Give --output, or output.uri in the config.")
    _check_output(config.output.uri)
    if not config.input.uris and not config.input.manifest:
        raise UsageError("there is no input", "Give --input, --manifest, or input.uris in the config.")
    parse_pages(config.documents.pages)
    _check_partitions(config.output.partition_by)


def _check_output(uri: str) -> None:
    if not is_writable(uri):
        raise UsageError(f"{scheme(uri)}:// can be read, not written", "Give a folder on disk or an s3:// prefix.")
    path = local_path(uri)
    taken = next((p for p in (path, *path.parents) if p.exists()), path) if path else None
    if taken is not None and taken.exists() and not taken.is_dir():
        raise UsageError(f"the output {uri} can't be a folder: {taken} is a file", "Give another output.")


def _check_partitions(rule: str | None) -> None:
    if rule is None or rule == "run_date":
        return
    try:
        names = set(re.compile(rule).groupindex)
    except re.error as error:
        raise UsageError(f"output.partition_by is no regular expression: {error}", f"Mend it: {rule}") from error
    if not names:
        raise UsageError(
            "output.partition_by names no group", r"For example (?P<year>\d{4})/(?P<month>\d\d), or run_date."
        )
    if taken := sorted(names & set(PAGES.names)):
        raise UsageError(f"output.partition_by: {taken} are columns already", "Give its groups other names.")


def check_columns(extra: list[pa.Field], ledger: Ledger, storage: Storage, output: str) -> None:
    """Raises UsageError where a manifest's column has another type than in the output so far.

    Readers could not open both as one table.
    """
    last = max((path for path in ledger.published if path.startswith("pages/")), default=None)
    if last is None or not extra:
        return
    filesystem, path = storage.arrow(join(output, last))
    before = pq.read_schema(path, filesystem=filesystem)
    for column in extra:
        if column.name in before.names and before.field(column.name).type != column.type:
            kind = before.field(column.name).type
            raise UsageError(
                f"the manifest's column {column.name!r} is {column.type}, but {kind} in the output so far",
                "Cast it in the manifest, rename it, or write to another output.",
            )


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
