"""What runs of an output set out to read and did not: of those that were killed or stopped, and not made up for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.worklist import DONE, REPORT, RETRY, RETRY_SETTINGS, SETTINGS
from ocrbatch.sinks.commit import read_ledger
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Key
from ocrbatch.sinks.verify import unaccounted
from ocrbatch.storage import Storage


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is left to read of what was asked for.

    lost: documents that have neither rows nor failures, or some pages of them (see `unaccounted`). runs: the folders of
    the runs that set out to read them, the newest first. unlisted: see the function. known: some run has left what it
    was asked for.
    """

    lost: dict[Key, tuple[int, ...]]
    runs: tuple[str, ...]
    unlisted: tuple[str, ...]
    known: bool

    @property
    def count(self) -> int:
        """How many documents and pages."""
        return sum(max(1, len(pages)) for pages in self.lost.values())


def unlisted(runs: Iterable[tuple[str, set[str]]]) -> tuple[str, ...]:
    """The folders of the last runs, as `worklist.runs` gives them, that were stopped while they listed what to read.

    Any run that has listed its inputs since takes their place, whatever it was asked for: what they were is not known.
    """
    later = takewhile(lambda item: SETTINGS not in item[1], runs)
    return tuple(run for run, names in later if REPORT in names and not names & {DONE, RETRY, RETRY_SETTINGS})


def is_owed(config: JobConfig, listed: str, storage: Storage, ledger: Ledger) -> bool:
    """Whether a run of this config that finds nothing left has to say so beside the output. listed: see
    `prepare.Source`.

    Else what an earlier one was stopped at would be missed for ever: it had no list yet, or its documents are gone.
    """
    output = config.output.uri
    left = unfinished(storage, output, ledger)
    if left.unlisted or not left.runs:
        return bool(left.unlisted)
    ours, names = worklist.asked(worklist.settings(config, storage, listed)), dict(worklist.runs(storage, output))
    stopped = [run for run in left.runs if SETTINGS in names[run]]
    return any(worklist.asked(worklist.settings_of(storage, run)) == ours for run in stopped)


def unfinished(
    storage: Storage, output: str, ledger: Ledger, *, recheck: bool = False, of_retries: bool = False
) -> Unfinished:
    """What the runs that have not come to their end set out to do, as far as the ledger does not account for it.

    A run that listed the same inputs to the end later on takes an earlier one's place; a manifest that has changed is
    another input. A document that failed as a
    whole and was read in part by a retry since is asked for by its run again. ledger: is brought up to date once the
    runs are listed, so that where it is settled then, none of them is at work. recheck: looks at the last run even if
    it came to its end. of_retries: looks for what retries left alone.
    """
    runs = worklist.runs(storage, output)
    read_ledger(storage, output, ledger)
    listed = [(run, names) for run, names in runs if names & {SETTINGS, RETRY_SETTINGS}]
    whole = [run for run, names in listed if SETTINGS in names]
    partly = ledger.partly_read()

    @cache
    def settings(run: str) -> dict[str, Any]:
        name = SETTINGS if run in whole else RETRY_SETTINGS
        return worklist.settings_of(storage, run, name)

    def is_replaced(run: str) -> bool:
        asked = worklist.asked(settings(run))
        return any(worklist.asked(settings(other)) == asked for other in whole if other > run)

    def later(run: str) -> dict[str, str]:
        files = (file for other in whole if other > run for file in worklist.manifests(storage, other))
        return {work.document.uri: work.document.etag for work in worklist.read(files, storage)}

    lost: dict[Key, tuple[int, ...]] = {}
    left = []
    for run, names in listed:
        at_end = (DONE in names and not (recheck and [run] == whole[:1])) or is_replaced(run)
        only_partly = at_end or (of_retries and SETTINGS in names)
        if only_partly and not (partly and SETTINGS in names):
            continue
        works = worklist.read(worklist.manifests(storage, run), storage)
        keys: Iterable[Key] = ((work.document.uri, work.document.etag) for work in works)
        if only_partly:
            keys = partly.intersection(keys)
            partly -= keys
        found = dict(unaccounted(ledger, keys, parse_pages(settings(run)["documents"]["pages"]).expected))
        if found and not at_end:  # of what a later run has met in another version, this one is not there any more
            met = later(run)
            found = {(uri, etag): pages for (uri, etag), pages in found.items() if met.get(uri, etag) == etag}
        if found:
            left.append(run)
            lost |= found
    return Unfinished(lost, tuple(left), unlisted(runs), bool(whole))
