"""What the log can say: its records, and their JSON.

The log `_ocrbatch/log/{n:012d}.json` is gapless and immutable, and the only truth about an output. Invariant: a
record is written at n by someone who has read 0 .. n-1, so whoever reads it may take for granted that it fits what
went before. An epoch is the number of the OPEN record that began it: unique, and rising in every shard, with nothing
to count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final
from uuid import uuid4

from ocrbatch.errors import OutputInconsistentError
from ocrbatch.sinks.layout import Kind

VERSION: Final = 3
_SEAL: Final = b',"seal":"'

Key = tuple[str, str]
"""(uri, etag): one version of one document."""


@dataclass(frozen=True, slots=True)
class HeldPages:
    """Pages of one document, by index from 0, that a part holds."""

    uri: str
    etag: str
    page_count: int
    pages: tuple[int, ...]

    @property
    def key(self) -> Key:
        """The document."""
        return self.uri, self.etag


@dataclass(frozen=True, slots=True)
class FailedPage:
    """A row of failures/ as the log knows it. page_index is None where the document could not be opened."""

    uri: str
    etag: str
    page_index: int | None
    page_count: int | None
    code: str
    stage: str
    retryable: bool
    attempt: int

    @property
    def key(self) -> Key:
        """The document."""
        return self.uri, self.etag


@dataclass(frozen=True, slots=True)
class Part:
    """A staged file, whole. All paths are relative to OUTPUT.

    partition: '' or `key=value/...` in Hive's spelling. bytes, sha256: of the file. schema: a hash of its columns;
    only parts with equal ones are merged. Of `pages` and `failures` the one that `kind` names says what is in the
    file.
    """

    path: str
    kind: Kind
    partition: str
    rows: int
    bytes: int
    sha256: str
    schema: str
    fingerprints: tuple[str, ...] = ()
    pages: tuple[HeldPages, ...] = ()
    failures: tuple[FailedPage, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """A writer's first record: from here on the shard is its own. `epoch` is the record's own number.

    token: a random name of the writer, so that it knows its own record again.
    """

    shard: str
    epoch: int
    run_id: str
    token: str
    host: str
    pid: int
    at: str


@dataclass(frozen=True, slots=True)
class Add:
    """The commit: from now on these parts count.

    ignored: files that are no documents and say so by their names. dismissed: documents whose failures are past until
    they are met again.
    """

    shard: str
    epoch: int
    at: str
    parts: tuple[Part, ...] = ()
    ignored: tuple[Key, ...] = ()
    dismissed: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Publish:
    """`merged`, a staged file, becomes `path`, which readers see, and stands for the staged parts `replaces`.

    The writer applies it before it appends anything else, so at most one a shard can be left unapplied.
    """

    shard: str
    epoch: int
    at: str
    kind: Kind
    partition: str
    path: str
    merged: str
    replaces: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str
    schema: str


@dataclass(frozen=True, slots=True)
class Close:
    """The writer ended by itself; everything it added is published and applied."""

    shard: str
    epoch: int
    at: str


Record = Open | Add | Publish | Close


def encode(record: Record) -> bytes:
    """One record as JSON, with a nonce: no two calls give the same bytes."""
    return seal({"v": VERSION, "nonce": uuid4().hex, **record_to_json(record)})


def seal(tree: Mapping[str, Any]) -> bytes:
    """JSON whose last value is the SHA-256 of what stands before it: a changed byte must not become another state."""
    body = json.dumps(tree, separators=(",", ":")).encode()[:-1]
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}'


def _require_seal(body: bytes) -> None:
    head, _, given = body.rpartition(_SEAL)
    if given != hashlib.sha256(head).hexdigest().encode() + b'"}':
        raise ValueError("its checksum is another")


def decode(body: bytes, where: str) -> Record:
    """The inverse of `encode`; unknown keys are skipped, so that records may gain some.

    where: the record's path, for the message. Raises OutputInconsistentError for what is no record of this version.
    """
    try:
        tree = json.loads(body)
        version = int(tree["v"])
        if version != VERSION:
            raise OutputInconsistentError(
                f"{where} was written by another ocrbatch (log version {version}, this one's is {VERSION})",
                "Use the ocrbatch that made this output, or take another output.",
            )
        _require_seal(body)
        return record_from_json(tree)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputInconsistentError(
            f"{where} is not a record of the log ({type(error).__name__}: {error})",
            "Something else wrote into the output's _ocrbatch/ folder, or damaged it; restore that file from a backup.",
        ) from error


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON values, without version and nonce."""
    tree = {"type": type(record).__name__.lower(), **_values(record)}
    if isinstance(record, Add):
        tree["parts"] = [part_to_json(part) for part in record.parts]
    return tree


def record_from_json(tree: Mapping[str, Any]) -> Record:
    """The inverse of `record_to_json`. Raises KeyError, TypeError or ValueError for anything else."""
    return _DECODERS[tree["type"]](tree)


def part_to_json(part: Part) -> dict[str, Any]:
    """A part as plain JSON values: what its file's footer says of it."""
    pages, failures = [_values(held) for held in part.pages], [_values(failed) for failed in part.failures]
    return {**_values(part), "pages": pages, "failures": failures}


def _values(record: Record | Part | HeldPages | FailedPage) -> dict[str, Any]:
    # Not by `asdict`, which copies all that is below: 7.4 instead of 0.9 us a document.
    kind: type = type(record)
    return {name: getattr(record, name) for name in _names(kind)}


def part_from_json(tree: Mapping[str, Any]) -> Part:
    """The inverse of `part_to_json`. Raises KeyError or TypeError for anything else."""
    pages = tuple(HeldPages(**{**_known(HeldPages, p), "pages": tuple(p["pages"])}) for p in tree["pages"])
    failures = tuple(FailedPage(**_known(FailedPage, f)) for f in tree["failures"])
    known = _known(Part, tree)
    return Part(**{**known, "fingerprints": tuple(tree["fingerprints"]), "pages": pages, "failures": failures})


def _known(kind: type, tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tree[name] for name in _names(kind) if name in tree}


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _add(tree: Mapping[str, Any]) -> Add:
    parts = tuple(part_from_json(part) for part in tree["parts"])
    ignored = _pairs(tree["ignored"])
    dismissed = _pairs(tree.get("dismissed", ()))  # which came later than records that are still about
    return Add(**{**_known(Add, tree), "parts": parts, "ignored": ignored, "dismissed": dismissed})


def _pairs(keys: Iterable[tuple[str, str]]) -> tuple[Key, ...]:
    return tuple((uri, etag) for uri, etag in keys)


_DECODERS: Final[dict[str, Callable[[Mapping[str, Any]], Record]]] = {
    "open": lambda tree: Open(**_known(Open, tree)),
    "add": _add,
    "publish": lambda tree: Publish(**{**_known(Publish, tree), "replaces": tuple(tree["replaces"])}),
    "close": lambda tree: Close(**_known(Close, tree)),
}
