"""What each contestant's process does: pages in, a whole pass to be warm, a pass on the clock, a report.

    python contestants/NAME.py ENTRY REPORT

ENTRY: a JSON file that bench.py wrote: {"engine": ..., "weights": FOLDER, "pages": [PNG, ...]}. A contestant reads by a
function from pages to their lines. This runs in every peer's environment: OpenCV and the standard library only.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Image = Any  # (H, W, 3) uint8, BGR
Read = Callable[[list[Image]], list[list[str]]]


def entry() -> dict[str, Any]:
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf8"))


def images() -> list[Image]:
    import cv2

    return [cv2.imread(path) for path in entry()["pages"]]


def clocked(read: Read, pages: list[Image]) -> dict[str, Any]:
    """Wall and CPU seconds of a pass, after one that no clock sees, and the texts of each page."""
    read(pages)
    started, busy = time.perf_counter(), time.process_time()
    texts = read(pages)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy, "texts": texts}


def leave(report: dict[str, Any], *packages: str) -> None:
    """Writes the report, with the versions of these packages."""
    versions = {name: metadata.version(name) for name in packages} | report.pop("versions", {})
    Path(sys.argv[2]).write_text(json.dumps({**report, "versions": versions}), encoding="utf8")
