"""A plain reader: lists and reads a folder of Parquet over and over, until it is told to stop (its stdin closes).

    python tests/chaos/plain_reader.py FOLDER [FILESYSTEM]     FILESYSTEM: arguments of pyarrow's S3FileSystem, as JSON

Prints as JSON what it saw: listings, the most rows at once, and what must not be: rows seen twice in one listing, files
that would not open, rows that went away. Knows pyarrow only.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

import pyarrow
from pyarrow import ArrowException, dataset
from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem, S3FileSystem

KEY = ["uri", "etag", "page_index"]


def watch(folder: str, files: FileSystem) -> dict[str, Any]:
    """Reads until stdin closes; one more time after that."""
    seen: dict[str, Any] = {"listings": 0, "rows": 0, "twice": 0, "unreadable": 0, "gone": 0, "said": ""}
    before: set[tuple[Any, ...]] = set()
    last = False
    while not last:
        last = bool(select.select([sys.stdin], [], [], 0)[0])
        if not before and not is_published(folder, files):
            time.sleep(0.05)
            continue
        try:
            table = dataset.dataset(folder, filesystem=files, format="parquet").to_table(columns=KEY)
        except (ArrowException, OSError) as error:
            seen["unreadable"] += 1
            seen["said"] = str(error)
            continue
        now = set(zip(*(table[name].to_pylist() for name in KEY), strict=True))
        seen["listings"] += 1
        seen["rows"] = max(seen["rows"], len(now))
        seen["twice"] += table.num_rows - len(now)
        seen["gone"] += len(before - now)
        before = now
    return seen


def is_published(folder: str, files: FileSystem) -> bool:
    """Whether there is anything in a folder, which need not be there."""
    try:
        return any(info.is_file for info in files.get_file_info(FileSelector(folder, allow_not_found=True)))
    except FileNotFoundError:  # it is being made
        return False


if __name__ == "__main__":
    os.nice(19)
    pyarrow.set_cpu_count(1)
    print(
        json.dumps(watch(sys.argv[1], S3FileSystem(**json.loads(sys.argv[2])) if sys.argv[2:] else LocalFileSystem()))
    )
