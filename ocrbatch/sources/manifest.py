"""A given list of documents: txt, CSV, JSONL or Parquet with a column of URIs, whose other columns pass through to the
rows.

Invariant: each row of the manifest ends as documents, or as an error that names the row; a row whose object is missing
becomes a document with an empty etag, and so a failure. The manifest is read whole before the first document is given,
so it may change or go meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from ocrbatch.config import InputConfig
from ocrbatch.errors import AccessDeniedError, CredentialsError, NotFoundError, StorageError, UsageError
from ocrbatch.records import Document
from ocrbatch.schema import pages_schema
from ocrbatch.sources import listing, members
from ocrbatch.sources.patterns import Filter
from ocrbatch.storage import Entry, Storage, host_of, is_allowed, local_path, redact

# A stat is one round trip of 10-50 ms, so 32 at a time are about 1,000 a second.
_THREADS: Final = 32
_CHUNK_ROWS: Final = 1024
_OPEN_LISTS: Final = 4
_BLOCK: Final = 16 << 20  # bytes; one row must fit

T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Manifest:
    """documents: in the manifest's order, to be read once; closing it ends the threads that look the objects up. extra:
    the pass-through columns, keys of each Document.extra. sha256: of its bytes.
    """

    documents: Generator[Document]
    extra: list[pa.Field]
    sha256: str


def read(config: InputConfig, storage: Storage) -> Manifest:
    """Reads `config.manifest`; its format is told by its suffix.

    txt: a URI a line; blank lines and those that begin with # are skipped. CSV: with a header; every column is a
    string, an empty cell is "". JSONL: an object a line; types are those that pyarrow infers over the whole file (a
    text that looks like a timestamp becomes one), a column of nulls is a string. Parquet: types are kept, dictionaries
    become their values. What Parquet has no type for gets the one that it is stored as (seconds: milliseconds).

    A URI may be relative to the manifest's folder. It may name whatever this user may read, with two bounds: a http(s)
    URL has the manifest's own host, or one of `storage.http_hosts`; and a manifest that comes over http(s) itself names
    no file of this machine. It is taken literally, a glob in it is none; it may name a file, an archive or a folder
    (ending in a slash, where it isn't on disk), which stand for all that is in them, or one member of an archive.
    include and exclude are compared with the path below the manifest's folder, or else with the whole path; below a
    folder's row, with the path below that folder. The same document again, with equal columns, is passed over.

    Raises UsageError: no such file, a user part or query in its URL, an unknown suffix, a file that can't be parsed, no
    column `config.uri_column` or one that isn't text, a column with the name of one of the output's; and while the
    documents are read, an empty URI, one beyond those bounds, a document named twice with different columns. Raises
    StorageError when storage fails.
    """
    if not config.manifest:
        raise UsageError("no manifest was given", "Name it by input.manifest.")
    listing.refuse_secrets(config.manifest, "the manifest")
    name = redact(config.manifest)
    path = local_path(config.manifest)
    if path is not None and path.exists() and not path.is_file():
        raise UsageError(f"the manifest {name} is a folder, a pipe or a device", "Name a file.")
    try:
        body = storage.read(config.manifest)
    except NotFoundError as error:
        raise UsageError(f"the manifest {name} does not exist", "Check the path.") from error
    try:
        table = _parse(name, body, config.uri_column)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"the manifest {name} can't be read: {cause[0]}", "Check it as the format its suffix names."
        ) from error
    extra = _extra_fields(table.schema, config.uri_column, name)
    return Manifest(_documents(table, extra, config, storage), extra, hashlib.sha256(body).hexdigest())


def _parse(name: str, body: bytes, uri_column: str) -> pa.Table:
    suffix = name.lower().rsplit("/", 1)[-1].rpartition(".")[2]
    if suffix == "txt":
        lines = (line.strip() for line in body.decode("utf-8-sig").split("\n"))
        return pa.table({uri_column: pa.array([x for x in lines if x and not x.startswith("#")], pa.string())})
    if suffix == "csv":
        parse, blocks = pyarrow.csv.ParseOptions(newlines_in_values=True), pyarrow.csv.ReadOptions(block_size=_BLOCK)
        with pyarrow.csv.open_csv(io.BytesIO(body), read_options=blocks, parse_options=parse) as reader:
            names = reader.schema.names
        # Types guessed from the first rows would break on the later ones, and "007" is no number.
        convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        return pyarrow.csv.read_csv(io.BytesIO(body), blocks, parse, convert)
    if suffix in ("jsonl", "ndjson"):
        blocks = pyarrow.json.ReadOptions(block_size=_BLOCK)
        return pyarrow.json.read_json(io.BytesIO(body.removeprefix(b"\xef\xbb\xbf")), blocks)
    if suffix == "parquet":
        return pq.read_table(pa.BufferReader(body))
    raise UsageError(f"the manifest {name} has none of the known formats", "Name it .txt, .csv, .jsonl or .parquet.")


def _extra_fields(schema: pa.Schema, uri_column: str, name: str) -> list[pa.Field]:
    if uri_column not in schema.names:
        found = ", ".join(schema.names)
        raise UsageError(
            f"the manifest {name} has no column {uri_column!r}; its columns: {found}",
            "Name it by input.uri_column.",
        )
    twice = sorted({n for n in schema.names if schema.names.count(n) > 1})
    if twice:
        raise UsageError(f"the manifest {name} has more than one column {', '.join(twice)}", "Rename all but one.")
    uri_type = _kept(schema.field(uri_column).type)
    if not (pa.types.is_string(uri_type) or pa.types.is_large_string(uri_type)):
        raise UsageError(f"the manifest {name} has {uri_type} in its column {uri_column!r}, not text", "Make it text.")
    extra = _through_parquet([pa.field(f.name, _kept(f.type)) for f in schema if f.name != uri_column])
    try:
        pages_schema(extra)
    except ValueError as error:
        raise UsageError(f"{name}: {error}", "Rename those columns of the manifest.") from error
    return extra


def _kept(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _kept(kind.value_type)
    if _has_empty_struct(kind):
        return pa.string()
    if pa.types.is_list(kind) and pa.types.is_null(kind.value_type):
        return pa.list_(pa.string())
    return pa.string() if pa.types.is_null(kind) else kind


def _through_parquet(fields: list[pa.Field]) -> list[pa.Field]:
    """The columns as they come back from Parquet, which has no timestamps in seconds, say: so the output has them."""
    sink = io.BytesIO()
    pq.write_table(pa.schema(fields).empty_table(), sink)
    return list(pq.read_schema(sink))


def _has_empty_struct(kind: pa.DataType) -> bool:
    """Of JSONL's {}: Parquet has none. Such a column is kept as JSON."""
    if pa.types.is_struct(kind):
        return not kind.num_fields or any(_has_empty_struct(field.type) for field in kind)
    return pa.types.is_list(kind) and _has_empty_struct(kind.value_type)


def _stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _has_empty_struct(column.type):
        texts = (None if value is None else json.dumps(value, default=str) for value in column.to_pylist())
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(_kept(column.type))


def _rows(
    table: pa.Table, extra: list[pa.Field], uri_column: str, folder: str, hosts: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(URI, extra) of each row; raises UsageError for an empty URI, and for one that the manifest may not name."""
    table = table.select([uri_column, *(f.name for f in extra)])
    table = pa.table([_stored(column) for column in table.columns], names=table.column_names)
    number = 0
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        for row in batch.to_pylist():
            number += 1
            uri = (row.pop(uri_column) or "").strip()
            if not uri:
                raise UsageError(f"row {number} of the manifest has no URI", "Fill it in, or take the row out.")
            if "://" not in uri and not uri.startswith("/"):
                uri = folder + uri
            listing.refuse_secrets(uri)
            _require_within_reach(uri, number, folder, hosts)
            yield uri, row


def _require_within_reach(uri: str, number: int, folder: str, hosts: Sequence[str]) -> None:
    """A manifest may have been written by somebody else, who must not send requests from here, or read files here."""
    host, own = host_of(uri), host_of(folder)
    if own is not None and local_path(uri) is not None:
        raise UsageError(
            f"row {number} of the manifest, which comes from the web, names the file {uri} of this machine",
            "Keep a list that names files here on a disk or in a bucket.",
        )
    if host is not None and host != own and not is_allowed(host, hosts):
        raise UsageError(
            f"row {number} of the manifest names {redact(uri)}, and input.storage.http_hosts does not allow that host",
            f"If it is meant, add {host} to input.storage.http_hosts, or a pattern such as '*.example.org'.",
        )


def _documents(table: pa.Table, extra: list[pa.Field], config: InputConfig, storage: Storage) -> Generator[Document]:
    manifest = listing.absolute(config.manifest or "", storage)
    folder = manifest[: manifest.rfind("/") + 1]
    resolver = _Resolver(config, storage, Filter.of(config.include, config.exclude), folder)
    rows = _rows(table, extra, config.uri_column, folder, config.storage.http_hosts)
    seen: dict[str, bytes] = {}
    with closing(_looked_up(rows, resolver.look)) as found:
        for uri, values, entry in found:
            digest = _digest(values)
            for document in resolver.resolve(uri, entry):
                before = seen.setdefault(document.uri, digest)
                if before is digest:
                    yield replace(document, extra=dict(values)) if values else document
                elif before != digest:
                    message = f"the manifest names {redact(document.uri)} twice, with different other columns"
                    raise UsageError(message, "Leave one of the two rows.")


def current(documents: Iterable[Document], config: InputConfig, storage: Storage) -> Generator[Document]:
    """The documents in the versions that are there now, with their columns.

    One that is gone has an empty etag, as in a manifest; one that can't be looked up stays as it was. An archive that
    could not be listed before is its members, if it can be now.
    """
    resolver = _Resolver(config, storage, Filter.of((), ()), "")

    def look(uri: str) -> Entry | StorageError | None:
        try:
            return resolver.look(uri)
        except CredentialsError:
            raise
        except StorageError as error:
            return error

    with closing(_looked_up(((d.uri, d) for d in documents), look)) as found:
        for uri, document, entry in found:
            now = [document] if isinstance(entry, StorageError) else resolver.resolve(uri, entry)
            yield from (replace(version, extra=document.extra) for version in now)


def _looked_up(rows: Iterator[tuple[str, T]], look: Callable[[str], E]) -> Generator[tuple[str, T, E]]:
    """What `look` finds at each row's URI, many at a time."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            entries = pool.map(look, [uri for uri, _ in chunk])
            for (uri, values), entry in zip(chunk, entries, strict=True):
                yield uri, values, entry
    finally:
        pool.shutdown(cancel_futures=True)  # who stops reading early doesn't wait for the rest of the look-ups


def _digest(values: Mapping[str, Any]) -> bytes:
    # A fresh object each time: `is` tells this row's digest from an equal one of a row before.
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Resolver:
    """Turns a row's URI into documents; keeps the member lists of the last few archives."""

    def __init__(self, config: InputConfig, storage: Storage, keep: Filter, folder: str) -> None:
        self._config, self._storage, self._keep, self._folder = config, storage, keep, folder
        self._lists: OrderedDict[tuple[str, str], dict[str, Document]] = OrderedDict()

    def look(self, uri: str) -> Entry | None:
        """What is at the URI (for a member: at its archive's); None for nothing, or for a folder. Thread-safe."""
        if uri.endswith("/"):
            return None
        try:
            return self._storage.stat(members.split_member(uri)[0])
        except CredentialsError:
            raise
        except (NotFoundError, AccessDeniedError):
            return None  # fetching meets it again and gives the code

    def resolve(self, uri: str, entry: Entry | None) -> Iterator[Document]:
        """The documents of one row, `include` and `exclude` applied."""
        archive, member = members.split_member(uri)
        if entry is None and listing.is_folder(uri, self._storage):
            yield from listing.documents(
                self._config.model_copy(update={"uris": (uri,), "manifest": None}), self._storage
            )
            return
        where = listing.absolute(archive, self._storage)
        if entry is None:
            found = [Document(where if member is None else f"{where}!/{member}", "")]
        else:
            inside = self._inside(replace(entry, uri=where))
            name = f"{where}!/{member}"
            found = list(inside.values()) if member is None else [inside.get(name) or Document(name, "")]
        for document in found:
            if self._keep.keeps(self._path(document.uri)):
                yield document

    def _inside(self, entry: Entry) -> dict[str, Document]:
        if not members.is_container(entry.uri):
            return {d.uri: d for d in listing.expand(entry, self._config, self._storage)}
        key = (entry.uri, entry.etag)
        if key not in self._lists:
            self._lists[key] = {d.uri: d for d in listing.expand(entry, self._config, self._storage)}
            while len(self._lists) > _OPEN_LISTS:
                self._lists.popitem(last=False)
        self._lists.move_to_end(key)
        return self._lists[key]

    def _path(self, uri: str) -> str:
        below = uri.removeprefix(self._folder)
        return below.partition("://")[2] or below.lstrip("/")
