"""What a config asks for, before anything is started: checked, and its inputs at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol
from uuid import uuid4

import pyarrow as pa

from ocrbatch.config import JobConfig, PipelineConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.errors import AccessDeniedError, CredentialsError, NotFoundError, UsageError
from ocrbatch.reading.reader import PARTS
from ocrbatch.records import Document
from ocrbatch.schema import PAGES
from ocrbatch.sources import listing, manifest
from ocrbatch.storage import Storage, is_writable, local_path, scheme
from ocrbatch.storage.uris import S3, split_bucket

_NO_BUCKET: Final = "Give s3://bucket/prefix; is a variable in it unset?"


class Source(Protocol):
    """Where a run's documents come from.

    Known once `documents` was called: extra, their pass-through columns; listed, what of them the config does not say.
    """

    extra: list[pa.Field]
    listed: str

    def documents(self) -> Generator[Document]:
        """The documents, anew at every call."""


@dataclass(slots=True)
class Inputs:
    """What the config names; as `Source`. listed: a hash of the manifest, which may have other contents every night."""

    config: JobConfig
    storage: Storage
    extra: list[pa.Field] = field(default_factory=list)
    listed: str = ""

    def documents(self) -> Generator[Document]:
        """The documents, listed anew at every call; raises UsageError where there is nothing to list.

        What lies in the output is none, also where the output is a folder of the input, by whatever name.
        """
        if self.config.input.manifest:
            read = manifest.read(self.config.input, self.storage)
            self.extra, self.listed = read.extra, read.sha256
            found = read.documents
        else:
            found = listing.documents(self.config.input, self.storage)
        own = _folder(self.config.output.uri)
        folder = lru_cache(maxsize=1024)(_folder)  # links are resolved once for all that lies in a folder
        return (
            document for document in found if not folder(document.uri[: document.uri.rfind("/") + 1]).startswith(own)
        )


def _folder(uri: str) -> str:
    """Where a folder lies, its name ending in a slash: links of this disk are resolved, S3 has one scheme."""
    path = local_path(uri)
    if path is not None:
        uri = os.path.realpath(path)
    elif scheme(uri) in S3:
        uri = "s3" + uri[len(scheme(uri)) :]
    return uri.rstrip("/") + "/"


def check(config: JobConfig) -> None:
    """Raises UsageError where the config lacks what every run needs."""
    if not config.output.uri:
        raise UsageError("there is no output", "Give --output, or output.uri in the config.")
    _check_output(config.output.uri)
    if not config.input.uris and not config.input.manifest:
        raise UsageError("there is no input", "Give --input, --manifest, or input.uris in the config.")
    if config.input.uris and config.input.manifest:
        raise UsageError("there are inputs and a manifest", "Give one of them.")
    _check_inputs(config)
    for part in PARTS[config.task]:
        if folder := getattr(config, part).model_dir:
            listing.refuse_secrets(folder, f"{part}.model_dir")
    address = cluster_address(config.pipeline) or ""
    if "@" in address or "?" in address:  # Ray knows neither
        raise UsageError(
            "pipeline.address (or RAY_ADDRESS) has a user part or a query, which may hold credentials and would be "
            "written down",
            "Give auto, or ray://host:10001.",
        )
    parse_pages(config.documents.pages)
    _check_partitions(config.output.partition_by)


def _check_inputs(config: JobConfig) -> None:
    own = _folder(config.output.uri)
    for uri in config.input.uris:
        listing.refuse_secrets(uri)
        if scheme(uri) in S3 and not split_bucket(uri)[0]:
            raise UsageError(f"the input {uri} names no bucket", _NO_BUCKET)
        if _folder(uri).startswith(own):
            raise UsageError(f"the input {uri} lies in the output {config.output.uri}", "Give another output.")


def _check_output(uri: str) -> None:
    listing.refuse_secrets(uri, "the output")
    if not is_writable(uri):
        raise UsageError(f"{scheme(uri)}:// can be read, not written", "Give a folder on disk or an s3:// prefix.")
    if scheme(uri) in S3 and not split_bucket(uri)[0]:
        raise UsageError(f"the output {uri} names no bucket", _NO_BUCKET)
    path = local_path(uri)
    taken = next((p for p in (path, *path.parents) if p.exists()), path) if path else None
    if taken is not None and taken.exists() and not taken.is_dir():
        raise UsageError(f"the output {uri} can't be a folder: {taken} is a file", "Give another output.")


def _check_partitions(rule: str | None) -> None:
    if rule is None:
        return
    try:
        names = _partitions(rule)
    except re.error as error:
        raise UsageError(f"output.partition_by is no regular expression: {error}", f"Mend it: {rule}") from error
    if not names:
        raise UsageError(
            "output.partition_by names no group", r"For example (?P<year>\d{4})/(?P<month>\d\d), or run_date."
        )
    if taken := sorted(names & set(PAGES.names)):
        raise UsageError(f"output.partition_by: {taken} are columns already", "Give its groups other names.")


def _partitions(rule: str) -> set[str]:
    return {rule} if rule == "run_date" else set(re.compile(rule).groupindex)


@contextmanager
def writable(output: str) -> Iterator[None]:
    """An output that can't be opened at all is the command's fault, and no rerun mends it."""
    try:
        yield
    except CredentialsError:
        raise  # they may be renewed
    except (AccessDeniedError, NotFoundError) as error:
        raise UsageError(f"the output {output} can't be used: {error}", error.remedy) from error


def cluster_address(config: PipelineConfig) -> str | None:
    """The cluster that a run joins; None where it starts Ray on this machine."""
    return config.address or os.environ.get("RAY_ADDRESS") or None


def check_extra(extra: Iterable[pa.Field], config: JobConfig) -> None:
    """Raises UsageError where a manifest's column has the name of a partition: readers would see it twice."""
    if config.output.partition_by is None:
        return
    if taken := sorted(_partitions(config.output.partition_by) & {column.name for column in extra}):
        raise UsageError(
            f"output.partition_by: {taken} are columns of the manifest", "Give its groups, or the columns, other names."
        )


def new_run_id() -> str:
    """When, and which: 20261121T101500-1a2b3c."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
