"""Failures that a person wants tried again, whatever was said of them: which, and the documents they are of."""

from __future__ import annotations

import difflib
from collections.abc import Generator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.errors import FAILURE_CODES, UsageError
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.unfinished import unfinished
from ocrbatch.records import Document
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.verify import existing_ledger
from ocrbatch.sources import listing, manifest
from ocrbatch.sources.selection import OpenFailure
from ocrbatch.storage import Storage


@dataclass(frozen=True, slots=True)
class Chosen:
    """The open failures that are tried again.

    codes: of which they have one, () for all. pattern: a glob over URIs, * for slashes, too.
    """

    codes: tuple[str, ...] = ()
    pattern: str | None = None

    def check(self) -> None:
        """Raises UsageError for a code that does not exist."""
        for code in self.codes:
            if code not in FAILURE_CODES:
                near = difflib.get_close_matches(code.upper(), FAILURE_CODES, n=1)
                hint = f"Did you mean {near[0]}? " if near else ""
                raise UsageError(
                    f"there is no failure code {code}", f"{hint}`ocrbatch status` names those of an output."
                )

    def matches(self, uri: str) -> bool:
        """Whether a document is meant."""
        return self.pattern is None or fnmatchcase(uri, self.pattern)

    def fits(self, uri: str, code: str) -> bool:
        """Whether a failure with this code is meant."""
        return (not self.codes or code in self.codes) and self.matches(uri)

    def __call__(self, document: Document, index: int | None, failure: OpenFailure) -> bool:
        """As `Retries` of selection."""
        return self.fits(document.uri, failure.code)


@dataclass(slots=True)
class FailedDocuments:
    """The documents with failures that are tried again: a source of a run, as `prepare.Inputs` is."""

    config: JobConfig
    chosen: Chosen
    extra: list[pa.Field] = field(default_factory=list)
    listed: str = ""

    def documents(self) -> Generator[Document]:
        """As they stood in the manifests of earlier runs, with their pass-through columns; replaced ones as they are.

        Also those that an earlier retry was stopped at: what it read of them has ended the failure.

        Raises UsageError where the output is none, or documents.pages leaves out every page that is to be tried.
        """
        storage, output = Storage(self.config.output.storage), self.config.output.uri
        ledger = existing_ledger(storage, output)
        failed = [
            ((uri, etag), index)
            for uri, etag, index, state in ledger.open_failures()
            if self.chosen.fits(uri, state.code)
        ]
        left: dict[tuple[str, str], Any] = {key: None for key, _ in failed}
        stopped_at = unfinished(storage, output, ledger, of_retries=True).lost
        if failed and not stopped_at and not any(self._wants(ledger, *each) for each in failed):
            raise UsageError(
                f"documents.pages={self.config.documents.pages}, of the last run, leaves out every page that failed",
                "Give --set documents.pages=, for all pages.",
            )
        left |= {key: None for key in stopped_at if self.chosen.matches(key[0])}
        found: list[Document] = []
        for file in worklist.all_manifests(storage, output):
            if not left:
                break
            self._add_columns(worklist.extra_fields(file, storage))
            for work in worklist.read([file], storage):
                if (work.document.uri, work.document.etag) in left:
                    del left[work.document.uri, work.document.etag]
                    found.append(work.document)
        found += [Document(uri, etag) for uri, etag in left]
        config = self.config.input
        return listing.once(manifest.current(found, config, Storage(config.storage)))

    def _wants(self, ledger: Ledger, key: tuple[str, str], index: int | None) -> bool:
        count, _ = ledger.pages_held(*key)
        wanted = parse_pages(self.config.documents.pages).expected
        return index is None or count is None or index in wanted(count)

    def _add_columns(self, fields: list[pa.Field]) -> None:
        known = {column.name for column in self.extra}
        self.extra += [column for column in fields if column.name not in known]
