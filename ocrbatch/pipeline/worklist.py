"""The run's manifest: what selection left to do, as Parquet beside the output, where every worker can read it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.config import JobConfig
from ocrbatch.errors import NotFoundError, OutputInconsistentError, UsageError
from ocrbatch.sinks.log import Key
from ocrbatch.sources.selection import Work, manifest_batches, manifest_schema, read_manifest
from ocrbatch.storage import Storage, join

RUNS: Final = "_ocrbatch/runs"
SETTINGS: Final = "config.json"
RETRY_SETTINGS: Final = "retry.json"  # of a retry, which sets out to read what it picked and nothing else
FILE_ROWS: Final = 16_384
# A row group is what one decode task takes: small enough to spread, large enough to keep Ray's cost a page low.
GROUP_ROWS: Final = 16
GROUP_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One Parquet file of a run's manifest; its row groups are the blocks that decode workers take."""

    uri: str
    row_groups: int
    rows: int


def write(
    work: Iterable[Work],
    extra: Sequence[pa.Field],
    storage: Storage,
    folder: str,
    workers: int,
    group_rows: int = GROUP_ROWS,
) -> Iterator[ManifestFile]:
    """Writes the work as Parquet files into a folder, in order; yields each as it is there.

    workers: decode workers, among which a short list is spread evenly. group_rows: documents of a row group, at most.
    """
    items = iter(work)
    for number, chunk in enumerate(iter(lambda: list(islice(items, FILE_ROWS)), [])):
        limit = max(1, min(group_rows, -(-len(chunk) // (4 * workers))))
        sink, groups = io.BytesIO(), 0
        with pq.ParquetWriter(sink, manifest_schema(extra), compression="zstd") as writer:
            for group in _groups(chunk, limit):
                for batch in manifest_batches(group, extra, rows=len(group)):
                    writer.write_table(pa.Table.from_batches([batch]), row_group_size=len(group))
                    groups += 1
        uri = join(folder, f"manifest-{number:05d}.parquet")
        storage.put(uri, sink.getvalue())
        yield ManifestFile(uri, groups, len(chunk))


def _groups(chunk: Sequence[Work], limit: int) -> Iterator[list[Work]]:
    group: list[Work] = []
    size = 0
    for item in chunk:
        if group and (len(group) >= limit or size + (item.document.size or 0) > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += item.document.size or 0
    if group:
        yield group


def read(files: Iterable[ManifestFile], storage: Storage) -> Iterator[Work]:
    """The work that `write` wrote, in order."""
    for file in files:
        parquet = pq.ParquetFile(io.BytesIO(storage.read(file.uri)))
        for batch in parquet.iter_batches():
            yield from read_manifest(batch)


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run set out to do: its documents, and its `documents.pages`. keys None: no run has left a list."""

    keys: Iterable[Key] | None = None
    pages: str = ""


def last_planned(storage: Storage, output: str) -> Planned:
    """The work of the last run of an output that had any, as its manifest says."""
    runs = list(_runs(storage, output))
    if not runs:
        return Planned()
    settings = _settings(storage, runs[0])
    keys = ((work.document.uri, work.document.etag) for work in read(manifests(storage, runs[0]), storage))
    return Planned(keys, settings["documents"]["pages"])


def last_settings(storage: Storage, output: str) -> dict[str, Any]:
    """What the last run of an output was asked for, as `write_settings` left it. Raises UsageError without one."""
    for run in _runs(storage, output):
        return _settings(storage, run)
    raise UsageError(f"{output} has no settings of a run", "Give the config that the run had.")


def _settings(storage: Storage, run: str) -> dict[str, Any]:
    uri = join(run, SETTINGS)
    try:
        tree: dict[str, Any] = json.loads(storage.read(uri))
    except ValueError as error:
        raise OutputInconsistentError(
            f"{uri} is not what a run left there: {error}", "Restore it from a backup, or delete that run's folder."
        ) from error
    return tree


def manifests(storage: Storage, run: str) -> list[ManifestFile]:
    """The Parquet files of a run's manifest, without what was read again."""
    return [
        ManifestFile(entry.uri, 0, 0)
        for entry in storage.list(run)
        if entry.uri.rpartition("/")[0] == run and entry.uri.endswith(".parquet")
    ]


def all_manifests(storage: Storage, output: str) -> Iterator[ManifestFile]:
    """Those of every run, the newest first."""
    for run in _runs(storage, output):
        yield from manifests(storage, run)


def extra_fields(file: ManifestFile, storage: Storage) -> list[pa.Field]:
    """The pass-through columns in one of a run's manifest files."""
    schema = pq.read_schema(pa.BufferReader(storage.read(file.uri)))
    return list(schema.field("extra").type) if "extra" in schema.names else []


def _runs(storage: Storage, output: str) -> Iterator[str]:
    """Folders of the runs that left settings, the newest first; their names sort by time."""
    folder = join(output, RUNS)
    try:
        found = {entry.uri.rpartition("/")[0] for entry in storage.list(folder) if entry.uri.endswith(f"/{SETTINGS}")}
    except NotFoundError:
        found = set()
    yield from sorted(found, reverse=True)


def write_settings(config: JobConfig, storage: Storage, folder: str, name: str = SETTINGS) -> None:
    """Leaves beside the manifest what the run was asked for; how to reach storage, and so every secret, is left out."""
    tree = config.model_dump(mode="json", exclude={"pipeline": True, "input": {"storage"}, "output": {"storage"}})
    storage.put(join(folder, name), json.dumps(tree, indent=2).encode())
