"""A ledger as one Parquet file, and back, so that a reader of a long log need not begin at its first record.

Pure. Invariant: `decode(encode(ledger)) == ledger` for every ledger. A row is a document; what is not about documents
stands in the footer as JSON. Where the meaning of a ledger's fields or the log's VERSION changes, VERSION does, and
files of another one are not used.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ocrbatch.sinks.ledger import FailureState, Ledger, Published
from ocrbatch.sinks.log import (
    Key,
    Open,
    Publish,
    part_from_json,
    part_to_json,
    record_from_json,
    record_to_json,
)

VERSION: Final = 3
FOOTER: Final = b"ocrbatch.checkpoint"

_FAILURE: Final = pa.struct(
    [
        ("page_index", pa.int32()),  # null: the document
        ("attempt", pa.int32()),
        ("retryable", pa.bool_()),
        ("code", pa.string()),
        ("stage", pa.string()),
    ]
)
# Strings as bytes, for a URI may hold lone surrogates. `pages` is `Ledger.held`'s mask, lowest byte first, null where
# all `page_count` pages are held; both null: `held` does not have the document. The rest is null for most documents.
SCHEMA: Final = pa.schema(
    [
        pa.field("uri", pa.binary(), nullable=False),
        pa.field("etag", pa.binary(), nullable=False),
        ("page_count", pa.int32()),
        ("pages", pa.binary()),
        ("failures", pa.list_(_FAILURE)),
        ("past", pa.bool_()),
        ("reopened", pa.int32()),
        ("ignored", pa.bool_()),
    ]
)


def encode(ledger: Ledger) -> bytes:
    """The ledger as a Parquet file, which is made in memory."""
    # Failed ones first, in their order, so that those who list failures name the same ones.
    keys = list(dict.fromkeys(chain(ledger.failed, ledger.held, ledger.past, ledger.reopened, ledger.ignored_keys)))
    held = [ledger.held.get(key) for key in keys]
    columns = [
        [_bytes(uri) for uri, _ in keys],
        [_bytes(etag) for _, etag in keys],
        [state and state[0] for state in held],
        [None if state is None or state == _whole(state[0]) else _mask_bytes(state[1]) for state in held],
        [_failures(ledger.failed.get(key)) for key in keys],
        [key in ledger.past or None for key in keys],
        [ledger.reopened.get(key) for key in keys],
        [key in ledger.ignored_keys or None for key in keys],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    sink = io.BytesIO()
    # Without Arrow's own copy of the schema: nothing in it is Arrow's alone.
    with pq.ParquetWriter(
        sink, SCHEMA, compression="zstd", use_dictionary=["page_count"], store_schema=False
    ) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
        writer.add_key_value_metadata({FOOTER: json.dumps(_rest(ledger), separators=(",", ":"))})
    return sink.getvalue()


def decode(body: bytes) -> Ledger:
    """The inverse of `encode`. Raises ValueError for a file of another version, or what Arrow and JSON raise."""
    file = pq.ParquetFile(pa.BufferReader(body))
    rest = json.loads((file.metadata.metadata or {})[FOOTER])
    if rest["v"] != VERSION:
        raise ValueError(f"it has version {rest['v']}, and this is version {VERSION}")
    table = file.read()
    keys = list(zip(_strings(table["uri"]), _strings(table["etag"]), strict=True))
    failed = {keys[row]: _states(states) for row, states in _valid(table["failures"])}
    failing: dict[str, set[str]] = {}
    for uri, etag in failed:
        failing.setdefault(uri, set()).add(etag)
    return Ledger(
        held=_held(keys, table["page_count"].to_pylist(), table["pages"].to_pylist()),
        failed=failed,
        failing=failing,
        past={keys[row] for row, _ in _valid(table["past"])},
        reopened={keys[row]: attempt for row, attempt in _valid(table["reopened"])},
        ignored_keys={keys[row] for row, _ in _valid(table["ignored"])},
        **_from_rest(rest),
    )


def _rest(ledger: Ledger) -> dict[str, Any]:
    return {
        "v": VERSION,
        "next": ledger.next,
        "page_total": ledger.page_total,
        "staged": {shard: [part_to_json(part) for part in parts.values()] for shard, parts in ledger.staged.items()},
        "published": {path: asdict(published) for path, published in ledger.published.items()},
        "unapplied": {shard: [n, record_to_json(publish)] for shard, (n, publish) in ledger.unapplied.items()},
        "owners": list(ledger.owners.items()),
        "opened": {shard: record_to_json(opened) for shard, opened in ledger.opened.items()},
        "closed": sorted(ledger.closed),
        "fingerprints": sorted(ledger.fingerprints),
    }


def _from_rest(rest: Mapping[str, Any]) -> dict[str, Any]:
    parts = {shard: [part_from_json(tree) for tree in trees] for shard, trees in rest["staged"].items()}
    unapplied = {shard: (n, record_from_json(tree)) for shard, (n, tree) in rest["unapplied"].items()}
    opened = {shard: record_from_json(tree) for shard, tree in rest["opened"].items()}
    if not all(isinstance(record, Publish) for _, record in unapplied.values()):
        raise ValueError("only a PUBLISH can wait to be applied")
    if not all(isinstance(record, Open) for record in opened.values()):
        raise ValueError("only an OPEN begins an epoch")
    return {
        "next": rest["next"],
        "page_total": rest["page_total"],
        "staged": {shard: {part.path: part for part in found} for shard, found in parts.items()},
        "published": {path: Published(**tree) for path, tree in rest["published"].items()},
        "unapplied": unapplied,
        "owners": dict(rest["owners"]),
        "opened": opened,
        "closed": set(rest["closed"]),
        "fingerprints": set(rest["fingerprints"]),
    }


def _held(keys: list[Key], counts: list[int | None], masks: list[bytes | None]) -> dict[Key, tuple[int | None, int]]:
    # Documents that are whole share one value for each page count, for there are many.
    whole = {count: _whole(count) for count in set(counts)}
    return {
        key: whole[count] if mask is None else (count, int.from_bytes(mask, "little"))
        for key, count, mask in zip(keys, counts, masks, strict=True)
        if count is not None or mask is not None
    }


def _whole(count: int | None) -> tuple[int | None, int]:
    return count, -1 if count is None else (1 << count) - 1


def _mask_bytes(mask: int) -> bytes:
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _failures(states: Mapping[int | None, FailureState] | None) -> list[dict[str, Any]] | None:
    return states and [{"page_index": index, **asdict(state)} for index, state in states.items()]  # type: ignore[return-value]


def _states(trees: Iterable[dict[str, Any]]) -> dict[int | None, FailureState]:
    return {tree.pop("page_index"): FailureState(**tree) for tree in trees}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _strings(column: pa.ChunkedArray) -> list[str]:
    # By way of numpy: Arrow's own to_pylist makes a scalar of each value first.
    return [value.decode("utf-8", "surrogatepass") for value in column.to_numpy().tolist()]


def _valid(column: pa.ChunkedArray) -> Iterator[tuple[int, Any]]:
    """(row, value) of those that are not null."""
    rows = pc.indices_nonzero(pc.is_valid(column))
    return zip(rows.to_pylist(), column.take(rows).to_pylist(), strict=True)
