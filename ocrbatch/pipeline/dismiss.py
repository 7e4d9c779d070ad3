"""Failures that a person is done with: of files that were deleted, excluded, or are as broken as they will stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from ocrbatch.config import JobConfig
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.interrupts import interruptible
from ocrbatch.pipeline.prepare import new_run_id, writable
from ocrbatch.pipeline.retry import Chosen
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Key
from ocrbatch.sinks.verify import existing_ledger, require_files
from ocrbatch.storage import Storage


@dataclass(slots=True)
class Dismissed:
    """documents: those whose failures were ended. kept: those that also have failures which were not picked."""

    documents: list[Key] = field(default_factory=list)
    kept: list[Key] = field(default_factory=list)


def dismiss(config: JobConfig, chosen: Chosen, *, wait: bool = False, say: Callable[[str], None] = print) -> Dismissed:
    """Ends the open failures that are chosen, without reading anything: a document's all, or none of them.

    Their rows stay in failures/, and a run that lists the document again reads it again. wait: for a run of the output
    to end.

    Raises UsageError where nothing is dismissed, OutputLockedError, OutputInconsistentError, StorageError.
    """
    storage, output = Storage(config.output.storage), config.output
    ledger = existing_ledger(storage, output.uri)
    require_files(storage, output.uri, ledger)
    if ledger.settled:  # else what was cut off is ended first, and may end failures
        _require_some(_fitting(ledger, chosen))
    with interruptible():
        with writable(output.uri):
            opened = Committer.open(storage, output, new_run_id(), wait=wait, notify=say)
        with opened as committer:
            found = _fitting(committer.ledger, chosen)
            committer.dismiss(found.documents)
            committer.close()
    _require_some(found)
    return found


def _fitting(ledger: Ledger, chosen: Chosen) -> Dismissed:
    fits: dict[Key, list[bool]] = defaultdict(list)
    for uri, etag, _, state in ledger.open_failures():
        fits[uri, etag].append(chosen.fits(uri, state.code))
    found = Dismissed()
    for key, each in fits.items():
        if any(each):
            (found.documents if all(each) else found.kept).append(key)
    return found


def _require_some(found: Dismissed) -> None:
    if not found.documents and found.kept:
        raise UsageError(
            f"{found.kept[0][0]} has failures with other codes, too", "Name those as well, or leave out --only."
        )
    if not found.documents:
        raise UsageError(
            "no open failure fits --only and --uri",
            "`ocrbatch status` tells which are open; a GLOB fits whole URIs, such as '*/name.pdf'.",
        )
