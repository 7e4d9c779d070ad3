"""How long an output with a long log takes to open: by its checkpoint at its oldest, and by the log alone.

Makes a log of nights on the disk: each ADD has 16 to 20 pages of some documents, here and there a failure; a PUBLISH
after each 40, an OPEN and a CLOSE each night. Prints a table and writes it as JSON; seconds are those of the wall, and
in brackets those of the processor.

    python tests/benchmarks/opening.py                      # 100,000 records
    python tests/benchmarks/opening.py --records 10000 --output /mnt/disk/out
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from ocrbatch.sinks import bookmark, checkpoint
from ocrbatch.sinks.commit import read_ledger
from ocrbatch.sinks.layout import final_path, log_path, merged_path, staged_path
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.log import Add, Close, FailedPage, HeldPages, Open, Part, Publish, Record, encode
from ocrbatch.storage import Storage, join

LIMIT_SECONDS = 2.0
NIGHT = 1_000  # records
ADDS = 40  # to a PUBLISH
AT = "2026-11-21T02:00:00.000+00:00"


def records(count: int, seed: int = 0) -> Iterator[Record]:
    """A log of so many records, as a year of nights leaves it."""
    rng = random.Random(seed)
    epoch, staged, serial = 0, [], 0
    for n in range(count):
        if n % NIGHT == 0:
            epoch = n
            yield Open("main", n, f"run-{n}", f"{rng.getrandbits(128):032x}", "node-1", 4711, AT)
        elif n % NIGHT == NIGHT - 1:
            yield Close("main", epoch, AT)
        elif len(staged) == ADDS or (n % NIGHT == NIGHT - 2 and staged):
            where, merged, sha256 = final_path("pages", "", n), merged_path(epoch), f"{rng.getrandbits(256):064x}"
            rows = 18 * len(staged)
            yield Publish("main", epoch, AT, "pages", "", where, merged, tuple(staged), rows, 1 << 26, sha256, "0" * 16)
            staged = []
        elif n % NIGHT == NIGHT - 3:
            yield Add("main", epoch, AT, (), ((f"s3://lake/scans/{n:09d}/index.json", f"{n:032x}"),))
        else:
            part, failed = _part(rng, epoch, serial), ()
            serial += 1
            staged.append(part.path)
            if n % 20 == 0:
                failed = (_failure(rng, n),)
            yield Add("main", epoch, AT, (part,), ()) if not failed else _with_failure(part, failed, epoch, n)


def _part(rng: random.Random, epoch: int, serial: int) -> Part:
    left, documents = rng.randint(16, 20), []
    while left:
        pages = min(left, rng.choice((1, 1, 2, 3, 4, 8)))
        uri = f"s3://lake/scans/2026/{serial % 12 + 1:02d}/batch-{serial:06d}/invoice-{len(documents):03d}.pdf"
        documents.append(HeldPages(uri, f"{rng.getrandbits(128):032x}", pages, tuple(range(pages))))
        left -= pages
    rows = sum(document.page_count for document in documents)
    sha256 = f"{rng.getrandbits(256):064x}"
    return Part(staged_path(epoch), "pages", "", rows, 90_000, sha256, "0" * 16, ("f" * 16,), tuple(documents))


def _failure(rng: random.Random, n: int) -> FailedPage:
    uri, etag = f"s3://lake/scans/broken/{n:09d}.pdf", f"{rng.getrandbits(128):032x}"
    return FailedPage(uri, etag, rng.choice((None, 3)), None, "PDF_BROKEN", "decode", False, 1)


def _with_failure(part: Part, failed: tuple[FailedPage, ...], epoch: int, n: int) -> Add:
    # The failures' file is never published here: a night leaves fifty of them in the state.
    path = staged_path(epoch)
    return Add("main", epoch, AT, (part, Part(path, "failures", "", 1, 9_000, f"{n:064x}", "1" * 16, failures=failed)))


def make(output: str, count: int) -> None:
    """Writes the log, and a checkpoint as old as one can get."""
    storage, ledger = Storage(), Ledger()
    Path(join(output, "_ocrbatch/log")).mkdir(parents=True)
    for n, record in enumerate(records(count)):
        Path(join(output, log_path(n))).write_bytes(encode(record))
        ledger.apply(n, record)
        if n + 1 == max(1, count - bookmark.EVERY):
            bookmark.leave(storage, output, ledger)


def timed(call: Callable[[], Ledger], repeat: int) -> tuple[dict[str, float], Ledger]:
    """The least of some times, in seconds of wall and processor, and the last result."""
    times = []
    for _ in range(repeat):
        result = None
        gc.collect()
        wall, processor = time.perf_counter(), time.process_time()
        result = call()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    assert result is not None
    return {"wall_s": min(wall for wall, _ in times), "cpu_s": min(cpu for _, cpu in times)}, result


def bytes_held(make_ledger: Callable[[], Ledger]) -> tuple[int, Ledger]:
    """What a ledger adds to the process, and the ledger."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    ledger = make_ledger()
    gc.collect()
    return psutil.Process().memory_info().rss - before, ledger


def documents(count: int) -> Ledger:
    """A ledger of so many whole documents, by way of a checkpoint."""
    rng = random.Random(1)
    ledger = Ledger(next=1)
    for i in range(count):
        key = f"s3://lake/scans/2026/{i % 12 + 1:02d}/batch-{i // 500:06d}/invoice-{i:09d}.pdf"
        pages = rng.randint(1, 8)
        ledger.held[key, f"{rng.getrandbits(128):032x}"] = pages, (1 << pages) - 1
        ledger.page_total += pages
    return ledger


def main() -> int:
    """Prints the table; exit code 1 where opening by the checkpoint takes longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--documents", type=int, default=1_000_000, help="for the figure of memory; 0 leaves it out")
    parser.add_argument("--output", type=Path, help="made here, kept and used again; a temporary folder by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"records": arguments.records, "records_after_checkpoint": bookmark.EVERY}
    if arguments.documents:
        body = checkpoint.encode(documents(arguments.documents))
        held, ledger = bytes_held(lambda: checkpoint.decode(body))
        found |= {"documents": arguments.documents, "checkpoint_mib": len(body) / 2**20, "ledger_mib": held / 2**20}
        del body, ledger
    with tempfile.TemporaryDirectory() as scratch:
        storage, output = Storage(), str(arguments.output or Path(scratch) / "out")
        if not Path(output).exists():
            make(output, arguments.records)
        found["by_checkpoint"], ledger = timed(lambda: read_ledger(storage, output), 3)
        found["of_it_checkpoint"], _ = timed(lambda: bookmark.restore(storage, output) or Ledger(), 3)
        found["by_log"], wanted = timed(lambda: read_ledger(storage, output, Ledger()), 1)
        found["leave_and_restore"], _ = timed(lambda: checkpoint.decode(checkpoint.encode(wanted)), 1)
        found |= {"held": len(wanted.held), "pages": wanted.page_total, "same": ledger == wanted}
    for name, value in found.items():
        match value:
            case dict():
                print(f"{name:<26}{value['wall_s']:>12.2f} s ({value['cpu_s']:.2f} s)")
            case float():
                print(f"{name:<26}{value:>12.1f}")
            case _:
                print(f"{name:<26}{value:>12,}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    return int(not found["same"] or found["by_checkpoint"]["wall_s"] > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
