"""Checkpoints in storage, and the bookmark: a small object that names the last of them.

Invariant: the log stays the only truth. A bookmark or checkpoint that is missing, torn, older, of another version or
of another log costs time and nothing else. So writers overwrite the bookmark without asking each other; and readers
take it by GET, prove the checkpoint's bytes by their hash, and prove by the record before it that it is of this log.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import Final

import pyarrow as pa

from ocrbatch.errors import NotFoundError
from ocrbatch.sinks import checkpoint
from ocrbatch.sinks.layout import BOOKMARK, CHECKPOINTS, below, checkpoint_number, checkpoint_path, log_path
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.storage import Storage, join

log = logging.getLogger(__name__)

EVERY: Final = 200
"""Records from one checkpoint to the next.

After the checkpoint a reader asks for at most so many, one by one; to leave one takes time that grows with the
documents. tests/benchmarks/opening.py measures both on a disk.
"""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A checkpoint holds what the records 0 .. next-1 add up to.

    sha256: of the checkpoint's bytes; record: the same of the log's record next-1.
    """

    next: int
    sha256: str
    record: str

    @property
    def path(self) -> str:
        """The checkpoint's, relative to OUTPUT."""
        return checkpoint_path(self.next, self.sha256)


def restore(storage: Storage, output: str) -> Ledger | None:
    """The ledger of the last checkpoint, None where there is none that can be used. Changes nothing."""
    mark = _read(storage, output)
    while mark is not None:
        try:
            return _load(storage, output, mark)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            last, mark = mark, _read(storage, output)
            if mark == last:  # else a writer has left another one meanwhile
                log.warning("%s can't be used, so the log is read from its beginning: %s", last.path, error)
                return None
    return None


def _load(storage: Storage, output: str, mark: Bookmark) -> Ledger:
    try:
        body = storage.read(join(output, mark.path))
    except NotFoundError:
        raise ValueError("it is gone") from None
    if _sha256(body) != mark.sha256:
        raise ValueError("it is damaged")
    if not _is_of_this_log(storage, output, mark):
        raise ValueError("it is of another log")
    ledger = checkpoint.decode(body)
    if ledger.next != mark.next:
        raise ValueError(f"it ends before record {ledger.next}, not {mark.next}")
    return ledger


def leave(storage: Storage, output: str, ledger: Ledger) -> int:
    """Leaves a checkpoint of the ledger unless a recent one is there, and gives the number of the last one.

    Raises StorageError; what was there before can then still be used.
    """
    known = _read(storage, output)
    if known is not None and known.next > ledger.next - EVERY and _is_of_this_log(storage, output, known):
        return known.next  # by the writer of another shard
    body = checkpoint.encode(ledger)
    record = storage.read(join(output, log_path(ledger.next - 1)))
    mark = Bookmark(ledger.next, _sha256(body), _sha256(record))
    storage.put(join(output, mark.path), body)
    storage.put(join(output, BOOKMARK), json.dumps({"v": checkpoint.VERSION, **asdict(mark)}, indent=1).encode())
    if known is not None:  # of an older log it may be further on than this one
        _clear(storage, output, min(known.next, ledger.next))
    return ledger.next


def _clear(storage: Storage, output: str, n: int) -> None:
    """Deletes checkpoints before `n`: the last but one stays, for readers who have just read its bookmark."""
    for entry in storage.list(join(output, CHECKPOINTS)):
        path = below(entry.uri, CHECKPOINTS)
        if 0 <= checkpoint_number(path) < n:
            storage.delete(join(output, path))


def _read(storage: Storage, output: str) -> Bookmark | None:
    try:
        tree = json.loads(storage.read(join(output, BOOKMARK)))
        mark = Bookmark(int(tree["next"]), str(tree["sha256"]), str(tree["record"]))
        return mark if tree["v"] == checkpoint.VERSION and mark.next > 0 else None
    except (NotFoundError, ValueError, TypeError, KeyError):
        return None


def _is_of_this_log(storage: Storage, output: str, mark: Bookmark) -> bool:
    try:
        return _sha256(storage.read(join(output, log_path(mark.next - 1)))) == mark.record
    except NotFoundError:
        return False


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
