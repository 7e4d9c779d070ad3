"""Small inputs, running jobs in short, and reading an output back without any code of the package."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from ocrbatch.config import load
from ocrbatch.pipeline.run import run
from ocrbatch.report.summary import RunReport

DOCUMENTS = Path(__file__).parent / "resources" / "documents"
BROKEN = DOCUMENTS.parent / "broken"


def job(output: Path | str, *overrides: str) -> RunReport:
    """Runs a job with `key=value` overrides in this process."""
    return run(load("", [f"output.uri={output}", *overrides]), say=lambda line: None)


def rows(output: Path, kind: str = "pages") -> list[dict]:
    """All rows, file by file, in the order of their keys."""
    parts = sorted((output / kind).rglob("*.parquet"))
    found = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], -1 if row["page_index"] is None else row["page_index"]))


def content(found: list[dict]) -> list[dict]:
    """What must be equal between runs: all but uri's folder, etag, times and the run's id."""
    left_out = {"etag", "document_mtime", "run_id"}
    picked = [
        {name: value for name, value in row.items() if name not in left_out}
        | {"uri": row["uri"].replace("!", "/").rsplit("/", 1)[-1]}
        for row in found
    ]
    return sorted(picked, key=lambda row: (row["uri"], row["page_index"]))


def bar_pages(folder: Path, count: int) -> Path:
    """Fills a folder with small pages, each with a bar of its own length, which the engine fake takes for a line.

    Their sides are multiples of 32, so that detection leaves every pixel as it is.
    """
    folder.mkdir(exist_ok=True)
    for number in range(count):
        page = np.full((64, 256, 3), 255, np.uint8)
        page[24:40, 16 : 40 + 8 * number] = 0
        assert cv2.imwrite(str(folder / f"{number:02d}.png"), page)
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder: its time and its bytes."""
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
