"""Is the output what its log says: every part there and unchanged, no other, each page once, nothing unaccounted for.

Changes nothing, and may run beside a writer: what appears meanwhile is not held against it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ocrbatch.errors import NotFoundError, OutputInconsistentError, UsageError
from ocrbatch.sinks import bookmark
from ocrbatch.sinks.commit import read_ledger, require_whole, whole_ledger
from ocrbatch.sinks.layout import BOOKMARK, KINDS, Kind, below, is_final_part, log_path
from ocrbatch.sinks.ledger import Ledger, PageSet
from ocrbatch.sinks.log import Key
from ocrbatch.sinks.parquet import keys_of
from ocrbatch.storage import Storage, join

# So many examples of a kind are named, the rest is counted.
_EXAMPLES: Final = 5


@dataclass(slots=True)
class Report:
    """What was found. problems: broken promises, in plain words; notes: what a next run finishes.

    pages: held, of which `staged` are not published yet. parts: of pages/. settled: every writer closed. failures: open
    ones by code. missing: documents and pages that neither a row nor an open failure accounts for, as far as `account`
    was told, which `unfinished` names.
    """

    documents: int = 0
    pages: int = 0
    staged: int = 0
    parts: int = 0
    settled: bool = True
    ignored: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    unfinished: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True where every promise is kept."""
        return not self.problems

    def account(self, lost: Mapping[Key, tuple[int, ...]]) -> None:
        """Takes in what `unaccounted` has found."""
        self.missing = sum(max(1, len(pages)) for pages in lost.values())
        self.unfinished += _some(
            f"{uri} (etag {etag}): neither a row nor a failure for {_pages(pages) if pages else 'the whole document'}"
            for (uri, etag), pages in lost.items()
        )


def verify(storage: Storage, output: str, *, quick: bool = False) -> Report:
    """Compares an output with its log.

    quick: only names and sizes are compared, no file is read, and the log only from its last checkpoint on.

    Raises UsageError where no run has written to the output, OutputInconsistentError where its log can't be read
    to the end.
    """
    problems: list[str] = []
    ledger = read_ledger(storage, output) if quick else _by_log(storage, output, problems)
    _require_log(storage, output, require_whole(storage, output, ledger))
    report = Report(
        problems=problems,
        documents=len(ledger.held.keys() | ledger.failed.keys()),
        pages=ledger.page_total,
        staged=sum(part.rows for parts in ledger.staged.values() for part in parts.values() if part.kind == "pages"),
        parts=ledger.page_parts,
        settled=ledger.settled,
        ignored=len(ledger.ignored_keys),
        failures=Counter(state.code for *_, state in ledger.open_failures()),
    )
    _compare_files(storage, output, ledger, report)
    if not quick:
        _compare_rows(storage, output, ledger, report)
    for shard, parts in ledger.staged.items():
        if parts:
            report.notes.append(f"{len(parts)} staged files of shard {shard} wait to be published: run it again")
    for shard in sorted(ledger.opened.keys() - ledger.closed):
        run = ledger.opened[shard]
        report.notes.append(
            f"run {run.run_id} of shard {shard} (since {run.at}) is at work or was stopped: run it again if so"
        )
    return report


def existing_ledger(storage: Storage, output: str) -> Ledger:
    """`whole_ledger` of an output that must be there.

    Raises UsageError where no run has written to it, OutputInconsistentError where there is all but its log.
    """
    ledger = whole_ledger(storage, output)
    _require_log(storage, output, ledger)
    return ledger


def _require_log(storage: Storage, output: str, ledger: Ledger) -> None:
    if not ledger.next:
        with suppress(NotFoundError):  # no such bucket
            require_files(storage, output, ledger)
        raise UsageError(f"{output} is no output of a run: it has no log", "Check the path.")


def unaccounted(
    ledger: Ledger, planned: Iterable[Key], selected: Callable[[int], Iterable[int]] = range
) -> Iterator[tuple[Key, tuple[int, ...]]]:
    """The planned documents of which something is neither held, nor failed, nor ignored, with the pages' indexes.

    selected: the page indexes that are wanted of a document with so many pages. No indexes stand for a document of
    which nothing is known at all.
    """
    for uri, etag in planned:
        failed = ledger.failures(uri, etag)
        if None in failed or ledger.ignored(uri, etag):
            continue
        count, held = ledger.pages_held(uri, etag)
        missing = tuple(i for i in selected(count) if i not in held and i not in failed) if count is not None else ()
        if missing or count is None:
            yield (uri, etag), missing


def require_files(storage: Storage, output: str, ledger: Ledger) -> None:
    """Raises OutputInconsistentError where parts are not as the log says, by their names and sizes.

    A part that no record names means that the end of the log is lost: what it named would be read and written again.
    """
    found = _listed(storage, output)
    strangers = _strangers(storage, output, ledger, found)
    problems = _gone_or_changed(ledger, found) + [_stranger(path) for path in strangers if is_final_part(path)]
    if problems:
        raise OutputInconsistentError(
            f"{output} is not what its log says: {'; '.join(_some(problems))}",
            "Restore what is gone from a backup or a bucket's older versions; without one, take another output.",
        )


def _by_log(storage: Storage, output: str, problems: list[str]) -> Ledger:
    """What the log alone says; it is a problem where its checkpoint, if there is one, says something else."""
    marked = bookmark.restore(storage, output)
    ledger = Ledger()
    if marked is not None:
        read_ledger(storage, output, ledger, end=marked.next)
        if ledger.next < marked.next:
            problems.append(f"{log_path(ledger.next)} is missing; {BOOKMARK} still names what it said")
            return read_ledger(storage, output, marked)
        if ledger != marked:
            problems.append(f"the checkpoint that {BOOKMARK} names differs from the log: delete that file")
        del marked
    return read_ledger(storage, output, ledger)


def _compare_files(storage: Storage, output: str, ledger: Ledger, report: Report) -> None:
    found = _listed(storage, output)
    report.notes += [
        f"{path} is decided but not shown yet: the next run shows it" for path in _pending(ledger) if path not in found
    ]
    report.problems += _gone_or_changed(ledger, found)
    report.problems += _some(map(_stranger, _strangers(storage, output, ledger, found)))


def _listed(storage: Storage, output: str) -> dict[str, int | None]:
    """What readers of the output see: the size of each Parquet file, by its path."""
    entries = ((kind, entry) for kind in KINDS for entry in storage.list(join(output, kind)))
    return {below(entry.uri, kind): entry.size for kind, entry in entries if entry.uri.endswith(".parquet")}


def _pending(ledger: Ledger) -> set[str]:
    return {publish.path for _, publish in ledger.unapplied.values()}


def _gone_or_changed(ledger: Ledger, found: Mapping[str, int | None]) -> list[str]:
    problems = []
    for path, part in ledger.published.items():
        if path not in found and path not in _pending(ledger):
            problems.append(f"{path} is gone, and with it {part.rows} rows")
        elif path in found and found[path] not in (None, part.bytes):
            problems.append(f"{path} has been changed: it has {found[path]} bytes instead of {part.bytes}")
    return problems


def _strangers(storage: Storage, output: str, ledger: Ledger, found: Mapping[str, int | None]) -> list[str]:
    """Files that no record names; a writer may have published them since."""
    strangers = found.keys() - ledger.published.keys()
    return sorted(strangers - read_ledger(storage, output).published.keys()) if strangers else []


def _stranger(path: str) -> str:
    if is_final_part(path):  # it may be the only copy of its rows
        return f"{path} is in no record of the log, of which the end must be lost"
    return f"{path} is in no record of the log, so its rows may be there twice: move it out of the output"


def _compare_rows(storage: Storage, output: str, ledger: Ledger, report: Report) -> None:
    shown: dict[Key, int] = {}
    failed: set[tuple[str, str, int | None, int]] = set()
    twice: list[str] = []
    unread = False
    for path, kind, sha256, body in _files(storage, output, ledger):
        if body is None or hashlib.sha256(body).hexdigest() != sha256:
            unread = True
            if body is not None:
                report.problems.append(f"{path} has been changed: its bytes are not those that were written")
            elif path not in ledger.published and not _moved_on(storage, output, ledger):
                report.problems.append(f"{path} is gone, and its rows were not published yet")
            continue
        for uri, etag, index, *attempt in keys_of(kind, body):
            if attempt:
                failed.add((uri, etag, index, attempt[0]))
                continue
            mask = shown.get((uri, etag), 0)
            if mask >> index & 1:
                twice.append(f"page {index} of {uri} (etag {etag}) is there twice")
            shown[uri, etag] = mask | 1 << index
    report.problems += _some(twice)
    if unread:  # what is missing follows from the files that could not be read
        return
    held = {key: mask for key, (_, mask) in ledger.held.items() if mask}
    report.problems += _some(
        f"{uri} (etag {etag}): the log names {_pages(PageSet(held.get((uri, etag), 0)))}, "
        f"the files hold {_pages(PageSet(shown.get((uri, etag), 0)))}"
        for uri, etag in sorted(held.keys() | shown.keys())
        if held.get((uri, etag), 0) != shown.get((uri, etag), 0)
    )
    report.problems += _some(
        f"the open failure {state.code} of {uri} (etag {etag}) has no row in failures/"
        for uri, etag, index, state in ledger.open_failures()
        if (uri, etag, index, state.attempt) not in failed
    )


def _files(storage: Storage, output: str, ledger: Ledger) -> Iterator[tuple[str, Kind, str, bytes | None]]:
    """(path, kind, sha256 as it should be, bytes if it is there) of every file that stands for rows."""
    merged = {publish.path: publish.merged for _, publish in ledger.unapplied.values()}
    for path, published in ledger.published.items():
        body = _read(storage, output, path)
        if body is None and path in merged:
            body = _read(storage, output, merged[path])
        yield path, published.kind, published.sha256, body
    for parts in ledger.staged.values():
        for part in parts.values():
            yield part.path, part.kind, part.sha256, _read(storage, output, part.path)


def _read(storage: Storage, output: str, path: str) -> bytes | None:
    try:
        return storage.read(join(output, path))
    except NotFoundError:
        return None


def _moved_on(storage: Storage, output: str, ledger: Ledger) -> bool:
    """True where a writer has appended since: it deletes staged files once it has published them."""
    return read_ledger(storage, output).next > ledger.next


def _pages(indexes: Collection[int]) -> str:
    if not indexes:
        return "no page"
    some = ", ".join(map(str, sorted(indexes)[:_EXAMPLES]))
    return f"{'page' if len(indexes) == 1 else 'pages'} {some}{' ...' if len(indexes) > _EXAMPLES else ''}"


def _some(problems: Iterable[str]) -> list[str]:
    """The first few, and how many more there are."""
    found = list(problems)
    more = len(found) - _EXAMPLES
    return [*found[:_EXAMPLES], *([f"... and {more} more of this kind"] if more > 0 else [])]
