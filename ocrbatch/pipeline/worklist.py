"""The run's manifest: what selection left to do, as Parquet beside the output, where every worker can read it.

Invariant: a run's settings are written after the last file of its manifest, and before the first page is read; so a run
without settings has read nothing, and what it would have read is not known. Where there was nothing to read there is a
manifest, too; so settings without one tell that it was lost.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from math import inf
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ocrbatch.config import JobConfig
from ocrbatch.errors import NotFoundError, OutputInconsistentError, UsageError
from ocrbatch.sources.listing import absolute
from ocrbatch.sources.selection import Work, manifest_batches, manifest_schema, read_manifest
from ocrbatch.storage import Storage, join, redact

RUNS: Final = "_ocrbatch/runs"
SETTINGS: Final = "config.json"
RETRY_SETTINGS: Final = "retry.json"  # of a retry, which sets out to read what it picked and nothing else
RETRY: Final = "retry"  # left by a retry that was stopped, which may have no settings yet
LISTED: Final = "listed"  # the key of what the settings don't say of the inputs
REPORT: Final = "report.json"  # left at the end, also of a run that was stopped
DONE: Final = "done"  # left after it, by a run that has read all that it set out to
FILE_ROWS: Final = 16_384
# A row group is what one decode task takes: small enough to spread, large enough to keep Ray's cost a page low.
GROUP_ROWS: Final = 16
GROUP_BYTES: Final = 64 << 20
# The driver has a block in Ray for each. So they grow with the list, to GROWN times as much, as long as they are no
# more than a SHARE-th of what comes before them, and a SPREAD-th of what each worker has had of it.
GROWN: Final = 16
SHARE: Final = 128
SPREAD: Final = 16
# How a side's storage is reached, as far as it is no secret; `options` may hold some.
REACH: Final = frozenset({"region", "role_arn", "profile", "anon", "retries", "timeout", "http_hosts"})


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
    """Writes the work as Parquet files into a folder, in order, one at least; yields each as it is there.

    workers: decode workers, among which a short list is spread evenly. group_rows: documents of a row group, at most,
    until the list is long; 1: of any.
    """
    items = iter(work)
    first = list(islice(items, FILE_ROWS))
    for number, chunk in enumerate(chain([first], iter(lambda: list(islice(items, FILE_ROWS)), []))):
        limit = max(1, min(group_rows, -(-len(first) // (4 * workers))))
        share = max(SHARE, SPREAD * workers) if group_rows > 1 else inf
        sink, groups = io.BytesIO(), 0
        with pq.ParquetWriter(sink, manifest_schema(extra), compression="zstd", use_dictionary=False) as writer:
            for group in _groups(chunk, limit, number * FILE_ROWS, share):
                for batch in manifest_batches(group, extra, rows=len(group)):
                    writer.write_table(pa.Table.from_batches([batch]), row_group_size=len(group))
                    groups += 1
        uri = join(folder, _name(number))
        storage.put(uri, sink.getvalue())
        yield ManifestFile(uri, groups, len(chunk))


def _name(number: int) -> str:
    return f"manifest-{number:05d}.parquet"


def _groups(chunk: Sequence[Work], limit: int, before: int, share: float) -> Iterator[list[Work]]:
    """limit: of a group in a list that is not long. before: documents in the list before the chunk."""
    group: list[Work] = []
    size, times = 0, _times(limit, before, share)
    for number, item in enumerate(chunk, before):
        if group and (len(group) >= times * limit or size + (item.document.size or 0) > times * GROUP_BYTES):
            yield group
            group, size, times = [], 0, _times(limit, number, share)
        group.append(item)
        size += item.document.size or 0
    if group:
        yield group


def _times(limit: int, before: int, share: float) -> int:
    return max(1, min(GROWN, int(before / share) // limit))


def read(files: Iterable[ManifestFile], storage: Storage) -> Iterator[Work]:
    """The work that `write` wrote, in order. Raises OutputInconsistentError where a file is not as it was written."""
    for file in files:
        body = pa.BufferReader(storage.read(file.uri))
        with _as_written(file.uri):
            for batch in pq.ParquetFile(body).iter_batches():
                yield from read_manifest(batch)


@contextmanager
def _as_written(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(f"{uri} is not what a run left there: {error}") from error


def _damaged(message: str) -> OutputInconsistentError:
    return OutputInconsistentError(message, "Restore it from a backup, or delete that run's folder.")


def folder_of(output: str, epoch: int, run_id: str) -> str:
    """A run's folder. Its name begins with the run's number in the log: ids are wall time, of clocks that differ."""
    return join(output, RUNS, f"{epoch:012d}-{run_id}")


def last_report(storage: Storage, output: str) -> dict[str, Any]:
    """The report of an output's last run, as `RunReport.to_json` wrote it; of one that has left none its id alone."""
    for run, left in runs(storage, output):
        run_id = run.rpartition("/")[2].partition("-")[2]
        return _tree(storage, join(run, REPORT)) if REPORT in left else {"run_id": run_id}
    return {}


def last_settings(storage: Storage, output: str) -> dict[str, Any]:
    """What the last run of an output was asked for, as `write_settings` left it. Raises UsageError without one."""
    for run, left in runs(storage, output):
        if SETTINGS in left:
            tree = settings_of(storage, run)
            return {name: tree[name] for name in tree if name != LISTED}
    raise UsageError(
        f"{output} has no settings of a run",
        "Check the path. A run has to have come as far as reading there: else run the same command again.",
    )


def settings_of(storage: Storage, run: str, name: str = SETTINGS) -> dict[str, Any]:
    """What a run was asked for. run: its folder. name: RETRY_SETTINGS for a retry.

    Raises OutputInconsistentError where that can't be told any more.
    """
    uri = join(run, name)
    tree = _tree(storage, uri)
    for section, key, kind in (("input", "uris", list), ("documents", "pages", str), ("output", "uri", str)):
        if not isinstance(tree.get(section), dict) or not isinstance(tree[section].get(key), kind):
            raise _damaged(f"{uri} is not what a run left there: {section}.{key} is missing or damaged")
    return tree


def _tree(storage: Storage, uri: str) -> dict[str, Any]:
    body = storage.read(uri)
    with _as_written(uri):
        tree: dict[str, Any] = dict(json.loads(body))
    return tree


def manifests(storage: Storage, run: str) -> list[ManifestFile]:
    """The Parquet files of a run's manifest, without what was read again; the run must have left its settings.

    Raises OutputInconsistentError where one is missing before others, or all are.
    """
    there = {entry.uri for entry in storage.list(run)}
    count = sum(uri.startswith(join(run, "manifest-")) for uri in there)
    wanted = [join(run, _name(number)) for number in range(max(1, count))]
    if missing := [uri for uri in wanted if uri not in there]:
        raise _damaged(f"{missing[0]} is gone, and with it what that run set out to read")
    return [ManifestFile(uri, 0, 0) for uri in wanted]


def all_manifests(storage: Storage, output: str) -> Iterator[ManifestFile]:
    """Those of every run and every retry that has read anything, the newest first."""
    for run, left in runs(storage, output):
        if SETTINGS in left or RETRY_SETTINGS in left:
            yield from manifests(storage, run)


def extra_fields(file: ManifestFile, storage: Storage) -> list[pa.Field]:
    """The pass-through columns in one of a run's manifest files."""
    body = pa.BufferReader(storage.read(file.uri))
    with _as_written(file.uri):
        schema = pq.read_schema(body)
    return list(schema.field("extra").type) if "extra" in schema.names else []


def runs(storage: Storage, output: str) -> list[tuple[str, set[str]]]:
    """(folder, names of the files in it) of the runs, the newest first: in the order of the log, see `folder_of`."""
    found: dict[str, set[str]] = {}
    with suppress(NotFoundError):  # no such bucket
        for entry in storage.list(join(output, RUNS)):
            run, _, name = entry.uri.rpartition("/")
            if run.rpartition("/")[0].endswith(RUNS):  # else it is of a run's later pass
                found.setdefault(run, set()).add(name)
    return sorted(found.items(), reverse=True)


def write_settings(config: JobConfig, storage: Storage, folder: str, name: str = SETTINGS, listed: str = "") -> None:
    """Leaves beside the manifest what the run was asked for, without secrets. listed: see `prepare.Source`."""
    storage.put(join(folder, name), json.dumps(settings(config, storage, listed), indent=2).encode())


def settings(config: JobConfig, storage: Storage, listed: str) -> dict[str, Any]:
    """What a run was asked for, as it is left beside its manifest."""
    tree: dict[str, Any] = config.model_dump(mode="json", exclude={"input": {"storage"}, "output": {"storage"}})
    for side, reached in (("input", config.input.storage), ("output", config.output.storage)):
        tree[side]["storage"] = reached.model_dump(mode="json", include=set(REACH))
        address = redact(reached.endpoint_url or "")
        if address and "@" not in address:  # a user part without a scheme before it
            tree[side]["storage"]["endpoint_url"] = address
    # As other runs see them, which may stand in another folder.
    tree["input"]["uris"] = [absolute(uri, storage) for uri in config.input.uris]
    tree["input"]["manifest"] = config.input.manifest and absolute(config.input.manifest, storage)
    tree[LISTED] = listed
    return tree


def asked(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a run's settings tells whether another one listed the same inputs."""
    return {**settings["input"], "storage": None}, settings.get(LISTED), settings["documents"]["pages"]
