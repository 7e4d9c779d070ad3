"""Failures that a person is done with: of files that were deleted, excluded, or are as broken as they will stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from ocrbatch.config import JobConfig
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.interrupts import interruptible
from ocrbatch.pipeline.prepare import new_run_id, writable
from ocrbatch.pipeline.retry import Chosen
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Key
from ocrbatch.sinks.verify import existing_ledger
from ocrbatch.storage import Storage


def dismiss(config: JobConfig, chosen: Chosen, *, wait: bool = False, say: Callable[[str], None] = print) -> list[Key]:
    """Ends open failures without reading anything, and gives the documents that they were of.

    A document is dismissed with all its failures or not at all. Their rows stay in failures/, and a run that lists the
    document again reads it again. wait: for a run of the output to end.

    Raises UsageError where nothing fits, OutputLockedError, OutputInconsistentError, StorageError.
    """
    storage, output = Storage(config.output.storage), config.output
    _fitting(existing_ledger(storage, output.uri), chosen)
    with interruptible():
        with writable(output.uri):
            opened = Committer.open(storage, output, new_run_id(), wait=wait, notify=say)
        with opened as committer:
            documents = _fitting(committer.ledger, chosen)
            committer.dismiss(documents)
            committer.close()
    return documents


def _fitting(ledger: Ledger, chosen: Chosen) -> list[Key]:
    fits: dict[Key, list[bool]] = defaultdict(list)
    for uri, etag, _, state in ledger.open_failures():
        fits[uri, etag].append(chosen.fits(uri, state.code))
    documents = [key for key, each in fits.items() if all(each)]
    if not documents:
        half = sum(any(each) for each in fits.values())
        raise UsageError(
            f"{half} of the documents that fit have failures of another code, too"
            if half
            else "no open failure fits --only and --uri",
            "Name those codes as well." if half else f"`ocrbatch status` lists what is open: {ledger.failure_total}.",
        )
    return documents
