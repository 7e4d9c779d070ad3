"""Listing, selecting and writing down what there is to read, of as many objects as a fake S3 client names.

Everything but the client is the job's own: pages of a listing to entries, to documents, set against a ledger that holds
every tenth, to the run's manifest on a disk. `make scale` runs it.
"""

from __future__ import annotations

import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from ocrbatch.config import JobConfig, load
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.prepare import Inputs
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sources.selection import Tally, passing, select
from ocrbatch.storage import Storage
from ocrbatch.storage.s3 import PAGE, S3

LIMIT_A_SECOND = 50_000
LIMIT_MIB = 1024
HELD = 10  # of so many documents the ledger holds one
STEP_OBJECTS = 300_000  # for the cost of each step
FOLDER = 1_000  # objects
MTIME = datetime(2026, 11, 20, tzinfo=UTC)


def key(number: int) -> str:
    """An object's key, as long as they are."""
    return f"scans/2026/batch-{number // FOLDER:06d}/invoice-{number:09d}.pdf"


def etag(number: int) -> str:
    """Its ETag."""
    return f"{number * 0x9E3779B97F4A7C15 & (1 << 128) - 1:032x}"


class Client:
    """Stands for s3fs: lists so many objects, a page a call."""

    def __init__(self, objects: int) -> None:
        self.objects = objects

    def call_s3(self, operation: str, **request: Any) -> dict[str, Any]:
        """The reply to list_objects_v2, as botocore gives it."""
        assert operation == "list_objects_v2", operation
        start = int(request.get("ContinuationToken", 0))
        end = min(start + PAGE, self.objects)
        contents = [
            {"Key": key(n), "LastModified": MTIME, "ETag": f'"{etag(n)}"', "Size": 80_000 + n % 1000}
            for n in range(start, end)
        ]
        return {"Contents": contents, "IsTruncated": end < self.objects, "NextContinuationToken": str(end)}


def storage_of(objects: int) -> Storage:
    """A storage whose s3:// is the fake client's."""
    backend, storage = S3.__new__(S3), Storage()
    backend.fs = Client(objects)
    storage._opened["s3"] = backend
    return storage


def ledger(objects: int) -> Ledger:
    """Holds every tenth of the objects."""
    held = {(f"s3://lake/{key(n)}", etag(n)): (1, 1) for n in range(0, objects, HELD)}
    return Ledger(next=1, held=held, page_total=len(held))


def exhausted(items: Iterable[Any]) -> None:
    """Takes all of them."""
    deque(items, maxlen=0)


def pages(objects: int) -> Iterator[Any]:
    """What the fake client itself costs."""
    client, token = Client(objects), "0"
    while True:
        page = client.call_s3("list_objects_v2", ContinuationToken=token)
        yield page
        if not page["IsTruncated"]:
            return
        token = page["NextContinuationToken"]


def steps(config: JobConfig, objects: int, known: Ledger, folder: str) -> dict[str, Callable[[], Iterable[Any]]]:
    """The way of an object, from its beginning to each of its steps."""

    def documents() -> Iterable[Any]:
        return Inputs(config, storage_of(objects)).documents()

    def work() -> Iterable[Any]:
        return select(documents(), known, passing(config.pipeline.attempts), Tally())

    return {
        "the client": lambda: pages(objects),
        "entries": lambda: storage_of(objects).list("s3://lake/scans/"),
        "documents": documents,
        "work": work,
        "manifest": lambda: worklist.write(work(), [], Storage(), folder, workers=1),
    }


def listing(objects: int, scratch: Path) -> tuple[dict[str, Any], bool]:
    """Prints a table; whether the limits are kept."""
    config = load("", ["input.uris=['s3://lake/scans/']", f"output.uri={scratch / 'out'}"])
    me, few = psutil.Process(), min(objects, STEP_OBJECTS)
    empty = me.memory_info().rss
    known = ledger(objects)
    found: dict[str, Any] = {"objects": objects, "held": len(known.held)}
    found |= {"ledger_bytes_a_document": round((me.memory_info().rss - empty) / len(known.held)), "us_an_object": {}}
    for name, step in steps(config, few, ledger(few), str(scratch / "few")).items():
        started = time.process_time()
        exhausted(step())
        found["us_an_object"][f"to {name}"] = round(1e6 * (time.process_time() - started) / few, 2)
    files, rss = [], []
    wall, cpu = time.monotonic(), time.process_time()
    for file in steps(config, objects, known, str(scratch / "run"))["manifest"]():
        files.append(file)
        rss.append(me.memory_info().rss)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    quarter = max(1, len(rss) // 4)
    found |= {
        "documents_left": sum(file.rows for file in files),
        "decode_tasks": sum(file.row_groups for file in files),
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "objects_a_second": round(objects / wall),
        "objects_a_cpu_second": round(objects / cpu),
        "rss_mib_by_quarter": [round(max(rss[i : i + quarter]) / 2**20) for i in range(0, len(rss), quarter)],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    for name, value in found.items():
        print(f"{name:<22}{value}", flush=True)
    return found, found["objects_a_second"] >= LIMIT_A_SECOND and found["peak_mib"] < LIMIT_MIB
