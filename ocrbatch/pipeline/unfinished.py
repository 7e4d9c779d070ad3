"""What runs of an output set out to read and did not: of those that were killed or stopped, and not made up for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

from ocrbatch.documents.pages import parse_pages
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.worklist import DONE, REPORT, RETRY_SETTINGS, SETTINGS
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Key
from ocrbatch.sinks.verify import unaccounted
from ocrbatch.storage import Storage


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is left to read of what was asked for.

    lost: documents that have neither rows nor failures, or some pages of them (see `unaccounted`). runs: the folders of
    the runs that set out to read them, the newest first. unlisted: the last run was stopped while it listed what there
    is to read. known: some run has left what it was asked for.
    """

    lost: dict[Key, tuple[int, ...]]
    runs: tuple[str, ...]
    unlisted: bool
    known: bool

    @property
    def count(self) -> int:
        """How many documents and pages."""
        return sum(max(1, len(pages)) for pages in self.lost.values())


def unfinished(storage: Storage, output: str, ledger: Ledger, *, recheck: bool = False) -> Unfinished:
    """What the runs that have not come to their end set out to do, as far as the ledger does not account for it.

    A run that listed the same inputs to the end later on takes an earlier one's place. recheck: looks at the last run
    even if it came to its end.
    """
    runs = worklist.runs(storage, output)
    listed = [(run, names) for run, names in runs if SETTINGS in names]
    later = takewhile(lambda item: SETTINGS not in item[1], runs)
    stopped = any(REPORT in names and not names & {DONE, RETRY_SETTINGS} for _, names in later)

    @cache
    def settings(run: str) -> dict[str, Any]:
        return worklist.settings_of(storage, run)

    def asked(run: str) -> tuple[Any, ...]:
        tree = settings(run)
        return {**tree["input"], "storage": None}, tree["documents"]["pages"]

    lost: dict[Key, tuple[int, ...]] = {}
    left = []
    for number, (run, names) in enumerate(listed):
        if DONE in names and not (recheck and number == 0):
            continue
        if any(asked(other) == asked(run) for other, _ in reversed(listed[:number])):
            continue
        works = worklist.read(worklist.manifests(storage, run), storage)
        keys = ((work.document.uri, work.document.etag) for work in works)
        found = dict(unaccounted(ledger, keys, parse_pages(settings(run)["documents"]["pages"]).expected))
        if found:
            left.append(run)
            lost |= found
    return Unfinished(lost, tuple(left), stopped, bool(listed))
