"""The one writer of an output (or of one shard of it): OPEN, adopt, ADD, PUBLISH, CLOSE.

Invariants, whatever is killed, paused or repeated:
- A record is appended only at the number after the last one known, by create-if-absent, so it was decided in full
  knowledge of the log. Who meets a later OPEN of its shard stops for good.
- A staged file is deleted only when no record names it and all its keys are held, which no later record can undo; or
  when the part that replaces it is published.
- A PUBLISH is applied before the writer appends anything else.
What the next writer finds and does is the same code as in an undisturbed run: apply, adopt, clear.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from ocrbatch.config import OutputConfig
from ocrbatch.errors import NotFoundError, OutputInconsistentError, OutputLockedError, StorageError
from ocrbatch.sinks import bookmark, parquet
from ocrbatch.sinks import lease as leases
from ocrbatch.sinks.layout import (
    CHECKPOINTS,
    LOG,
    PROBE,
    STAGING,
    below,
    epoch_of,
    final_path,
    is_staged_part,
    log_path,
    record_number,
)
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Add, Close, Key, Open, Part, Publish, Record, decode, encode
from ocrbatch.storage import Storage, join

log = logging.getLogger(__name__)

# A record is one small object; this many keys are about 4 MB of JSON.
_KEYS_PER_RECORD: Final = 20_000

_probed: set[str] = set()


def read_ledger(storage: Storage, output: str, ledger: Ledger | None = None, *, end: int | None = None) -> Ledger:
    """The state of an output now, by its last checkpoint and the log's records since then; changes nothing.

    ledger: one read before, brought up to date; an empty one reads the log alone. end: read no record from there on.

    Raises OutputInconsistentError for a record that contradicts those before it. It ends at the first that is missing,
    whatever comes after it: see `require_whole`.
    """
    ledger = ledger or bookmark.restore(storage, output) or Ledger()
    while ledger.next != end and (record := _read_record(storage, output, ledger.next)) is not None:
        ledger.apply(ledger.next, record)
    return ledger


def require_whole(storage: Storage, output: str, ledger: Ledger) -> Ledger:
    """The output's ledger; raises OutputInconsistentError where the log goes on after a record that is missing.

    A writer would fill the gap, and make what comes after it contradict. Lists what the log's folder has after it.
    """
    last = -1
    with suppress(NotFoundError):  # no such bucket
        _, _, missing = log_path(ledger.next).rpartition("/")
        last = max(map(record_number, storage.names_after(join(output, LOG), missing)), default=-1)
    # What was listed was there with all before it, so a writer that appends meanwhile leaves no gap here.
    if last >= 0 and last >= (n := read_ledger(storage, output).next):
        raise OutputInconsistentError(
            f"{log_path(n)} of {output} is missing, and the log goes on after it",
            "Restore that file from a backup or the bucket's older versions; without one, take another output.",
        )
    return ledger


def whole_ledger(storage: Storage, output: str) -> Ledger:
    """`read_ledger` of a log in which no record is missing, as far as `require_whole` can tell."""
    return require_whole(storage, output, read_ledger(storage, output))


def _read_record(storage: Storage, output: str, n: int) -> Record | None:
    try:
        return decode(storage.read(join(output, log_path(n))), log_path(n))
    except NotFoundError:
        return None


class Committer:
    """Appends to the log of one output; one thread uses it. `epoch` is where workers stage, `ledger` what is held.

    As a context manager it gives the lease back at the end, and commits nothing by that: what `close` did not publish
    stays staged for the next writer.
    """

    def __init__(
        self, storage: Storage, output: OutputConfig, shard: str, run_id: str, lease: leases.Lease | None
    ) -> None:
        self.epoch = -1
        self.ledger = Ledger()
        self.shard = shard
        self.run_id = run_id
        self.target_bytes = int(output.target_file_mb * 2**20)
        self._storage = storage
        self._output = output.uri
        self._level = output.compression_level
        self._lease = lease
        self._token = uuid4().hex
        self._applied = -1
        self._checkpointed = 0

    @classmethod
    def open(
        cls,
        storage: Storage,
        output: OutputConfig,
        run_id: str,
        *,
        shard: str = "main",
        wait: bool = False,
        notify: Callable[[str], None] = log.warning,
    ) -> Self:
        """Takes the lease, becomes the shard's writer, and finishes what the one before it left.

        wait, notify: see `lease.acquire`. Raises OutputLockedError where another writer lives,
        OutputInconsistentError where the storage can't create exclusively or the log contradicts itself,
        StorageError.
        """
        _probe(storage, output.uri)
        with ExitStack() as stack:
            lease = leases.acquire(storage, output.uri, run_id, shard=shard, wait=wait, notify=notify)
            stack.callback(lease.release)
            committer = cls(storage, output, shard, run_id, lease)
            committer.start()
            stack.pop_all()
        return committer

    def start(self) -> None:
        """What `open` does once it has the lease."""
        here = leases.Holder.here()
        self.ledger = bookmark.restore(self._storage, self._output) or Ledger()
        self._checkpointed = self.ledger.next
        read_ledger(self._storage, self._output, self.ledger)
        self._append(lambda n: Open(self.shard, n, self.run_id, self._token, here.host, here.pid, _now()))
        self._settle()
        self.adopt()
        for folder in (STAGING, CHECKPOINTS):
            self._storage.tidy(join(self._output, folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    # ---- what a run does

    def add(self, parts: Iterable[Part], ignored: Iterable[Key] = ()) -> None:
        """Commits staged parts, and files to be ignored from now on.

        What is held already is left out: a file that holds nothing new is deleted, one that holds some is replaced by
        a copy with the rest. Calling it again with the same parts changes nothing.
        """
        for batch in _batches(parts):
            self._add(batch, late=False)
        keys = [key for key in dict.fromkeys(ignored) if not self.ledger.ignored(*key)]
        for start in range(0, len(keys), _KEYS_PER_RECORD):
            few = tuple(keys[start : start + _KEYS_PER_RECORD])
            self._append(lambda n, few=few: Add(self.shard, self.epoch, _now(), (), few))  # type: ignore[misc]

    def dismiss(self, documents: Iterable[Key]) -> None:
        """Ends the open failures of these documents: until a run meets them again, they count no more."""
        keys = [key for key in dict.fromkeys(documents) if self.ledger.failures(*key)]
        known = {key: dict(self.ledger.failures(*key)) for key in keys}
        for start in range(0, len(keys), _KEYS_PER_RECORD):
            few = keys[start : start + _KEYS_PER_RECORD]

            def build(_: int, few: Sequence[Key] = few) -> Add | None:
                # Not what another writer has added meanwhile.
                same = tuple(key for key in few if self.ledger.failures(*key) == known[key])
                open_still = tuple(key for key in same if not self.ledger.is_past(*key))
                return Add(self.shard, self.epoch, _now(), dismissed=open_still) if open_still else None

            self._append(build)

    def adopt(self) -> int:
        """Commits staged files that no record names, whose workers' results never came; gives how many it added.

        Clears what former writers left that holds nothing new. Files of this epoch may be adopted at any time, too: a
        result that still comes is then known.
        """
        found = []
        for path in self._staged_files():
            # The writer before us may have been about to publish a merge: its rows are in the files it was made of.
            part = parquet.find(self._storage, self._output, path) if is_staged_part(path) else None
            if part is not None:
                found.append(part)
            elif epoch_of(path) < self.epoch:
                self._delete(path)
        return sum(self._add(batch, late=True) for batch in _batches(found))

    def publish(self, *, force: bool = False, limit: int | None = None) -> int:
        """Merges staged parts of the target size and shows them to readers; gives how many files appeared.

        force: also what is smaller. limit: at most so many files, so that a caller can add in between.
        """
        done = 0
        while (limit is None or done < limit) and (parts := next(self._due(force), None)):
            self._publish(parts)
            done += 1
        return done

    def close(self) -> None:
        """Ends well: commits what is staged, publishes everything, says so in the log, gives the lease back."""
        self.sync()  # an earlier call may have ended in doubt
        if self.shard not in self.ledger.closed:
            self.adopt()
            self.publish(force=True)
            self._append(lambda n: None if self.shard in self.ledger.closed else Close(self.shard, self.epoch, _now()))
        self.release()

    def release(self) -> None:
        """Gives the lease back, and no more. The committer must not be used afterwards."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    # ---- the log

    def sync(self) -> None:
        """Takes in what others have appended. Raises OutputLockedError where another writer has opened this shard."""
        while (record := _read_record(self._storage, self._output, self.ledger.next)) is not None:
            self._absorb(record)

    def _append(self, build: Callable[[int], Record | None]) -> Record | None:
        """Appends `build(n)`, built anew from the ledger for each n that is tried; nothing where it gives None.

        Raises OutputLockedError where another writer has opened this shard.
        """
        while True:
            self._settle()
            n = self.ledger.next
            record = build(n)
            if record is None:
                return None
            self.ledger.check(record)  # before it is written: nobody could take it back
            if self._storage.put_if_absent(join(self._output, log_path(n)), encode(record)):
                self._absorb(record)
                self._leave_checkpoint()
                return record
            # Another's; or our own of an earlier call that ended in doubt, which then simply counts.
            self.sync()
            if self.ledger.next == n:
                raise OutputInconsistentError(
                    f"{log_path(n)} of {self._output} exists and does not exist",
                    "The storage is not consistent; use another.",
                )

    def _leave_checkpoint(self) -> None:
        if self.ledger.next - self._checkpointed < bookmark.EVERY:
            return
        self._checkpointed = self.ledger.next  # failing costs a later reader time, so the next try is as far away
        try:
            self._checkpointed = bookmark.leave(self._storage, self._output, self.ledger)
        except StorageError as error:
            log.warning("no checkpoint of the log could be left: %s", error)

    def _absorb(self, record: Record) -> None:
        if isinstance(record, Open) and record.shard == self.shard:
            if record.token == self._token:
                self.epoch = record.epoch
            elif self.epoch >= 0 or not self._has_lease():
                raise OutputLockedError(
                    f"{self._output} was taken over by run {record.run_id} "
                    f"on {record.host}, pid {record.pid}, at {record.at}",
                    "Nothing is lost or written twice; let that run end. If this one was neither paused nor cut off "
                    "from the storage for a minute, compare the clocks of both machines.",
                )
        self.ledger.apply(self.ledger.next, record)

    def _has_lease(self) -> bool:
        """Who has it may pass over an OPEN that came in between: of a writer that gave up, or died while it waited."""
        return self._lease is None or self._lease.renew()

    def _settle(self) -> None:
        """Shows readers the part of the shard's last PUBLISH, and clears what it stands for; may be repeated."""
        n, publish = self.ledger.unapplied.get(self.shard, (-1, None))
        if publish is None or n <= self._applied or self.epoch < 0:
            return
        final = join(self._output, publish.path)
        try:
            shown = self._storage.copy_if_absent(join(self._output, publish.merged), final)
        except NotFoundError:
            # Then it was applied before, by a writer that was stopped or replaced while it cleared up.
            shown = self._storage.exists(final)
        if not shown:
            raise OutputInconsistentError(
                f"{publish.path} of {self._output} is not the file that record {n} of the log publishes",
                "Something else wrote into the output; restore its folders from a backup, or start a new output.",
            )
        for path in (*publish.replaces, publish.merged):
            self._delete(path)
        self._applied = n

    # ---- adding

    def _add(self, parts: Sequence[Part], *, late: bool) -> int:
        candidates = list(parts)

        def build(_: int) -> Add | None:
            fresh = self.ledger.admit(candidates, late=late)
            for i, (part, new) in enumerate(zip(candidates, fresh, strict=True)):
                if new is not part and (new.pages or new.failures):
                    with self._unless_replaced():
                        copy = parquet.reduce(self._storage, self._output, self.epoch, part, new, level=self._level)
                    candidates[i] = fresh[i] = copy
            accepted = tuple(part for part in fresh if part.pages or part.failures)
            return Add(self.shard, self.epoch, _now(), accepted) if accepted else None

        record = self._append(build)
        for path in {part.path for part in (*parts, *candidates)}:
            if not self.ledger.names(path):
                self._delete(path)
        return len(record.parts) if isinstance(record, Add) else 0

    def _staged_files(self) -> Iterator[str]:
        """Files in this shard's epochs, past and present, that no record names."""
        for entry in self._storage.list(join(self._output, STAGING)):
            path = below(entry.uri, STAGING)
            if self.ledger.owners.get(epoch_of(path)) == self.shard and not self.ledger.names(path):
                yield path

    def _delete(self, path: str) -> None:
        self._storage.delete(join(self._output, path))

    # ---- publishing

    def _due(self, force: bool) -> Iterator[list[Part]]:
        """Groups of staged parts that make one file: of one kind, partition and schema, in the order of the log."""
        groups: dict[tuple[str, str, str], list[Part]] = {}
        sizes: dict[tuple[str, str, str], int] = {}
        for part in self.ledger.staged.get(self.shard, {}).values():
            key = part.kind, part.partition, part.schema
            groups.setdefault(key, []).append(part)
            sizes[key] = sizes.get(key, 0) + part.bytes
            if sizes[key] >= self.target_bytes:
                yield groups[key]
                return
        if force:
            yield from groups.values()

    def _publish(self, parts: Sequence[Part]) -> None:
        with self._unless_replaced():
            merged = parquet.merge(self._storage, self._output, self.epoch, parts, level=self._level)
        replaces = tuple(part.path for part in parts)

        def build(n: int) -> Publish | None:
            if not self.ledger.staged.get(self.shard, {}).keys() >= set(replaces):
                return None  # our own record of an earlier call that ended in doubt
            path = final_path(merged.kind, merged.partition, n)
            return Publish(
                shard=self.shard,
                epoch=self.epoch,
                at=_now(),
                kind=merged.kind,
                partition=merged.partition,
                path=path,
                merged=merged.path,
                replaces=replaces,
                rows=merged.rows,
                bytes=merged.bytes,
                sha256=merged.sha256,
                schema=merged.schema,
            )

        self._append(build)
        self._settle()

    @contextmanager
    def _unless_replaced(self) -> Iterator[None]:
        """Where a staged file is gone because another writer took over, that is what is said."""
        try:
            yield
        except OutputInconsistentError:
            self.sync()
            raise


def _probe(storage: Storage, output: str) -> None:
    """Once a process and output: it costs a few requests and can't change meanwhile."""
    if output not in _probed:
        storage.probe_exclusive_create(join(output, PROBE))
        _probed.add(output)


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Consecutive parts whose keys fit into one record."""
    batch: list[Part] = []
    keys = 0
    for part in parts:
        size = sum(1 + len(document.pages) for document in part.pages) + len(part.failures)
        if batch and keys + size > _KEYS_PER_RECORD:
            yield batch
            batch, keys = [], 0
        batch.append(part)
        keys += size
    if batch:
        yield batch


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
