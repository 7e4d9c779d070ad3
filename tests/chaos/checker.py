"""Whether an output is whole, whatever happened to the runs that wrote it. Knows pyarrow and the list of pages only."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pyarrow import dataset
from pyarrow.fs import FileSelector, FileSystem

Key = tuple[str, int | None]  # name of the file, index of the page
Content = dict[Key, dict[str, Any]]
OF_ITS_RUN = {"uri", "etag", "document_mtime", "run_id"}


def rows(files: FileSystem, folder: str) -> list[tuple[Key, dict[str, Any]]]:
    """Every row of every part, its key beside it. No folder: no row."""
    if not files.get_file_info(FileSelector(folder, allow_not_found=True)):
        return []
    found = dataset.dataset(folder, filesystem=files, format="parquet").to_table().to_pylist()
    return [((row["uri"].rsplit("/", 1)[-1], row["page_index"]), row) for row in found]


def content(files: FileSystem, output: str) -> Content:
    """Of each page what must not differ between runs."""
    return {
        key: {name: value for name, value in row.items() if name not in OF_ITS_RUN}
        for key, row in rows(files, f"{output}/pages")
    }


def check(files: FileSystem, output: str, planned: set[Key], clean: Content) -> Counter[str]:
    """What is wrong, counted: pages lost, twice, strange (not planned), changed (not as in `clean`), failed (open)."""
    times = Counter(key for key, _ in rows(files, f"{output}/pages"))
    failed = {key for key, _ in rows(files, f"{output}/failures")} - set(times)
    found = content(files, output)
    return Counter(
        lost=len(planned - set(times) - failed),
        twice=sum(count - 1 for count in times.values()),
        strange=len(set(times) - planned),
        changed=sum(found[key] != clean.get(key) for key in found),
        failed=len(failed),
    )
