"""Reading an output back without any code of the package, and running jobs in short."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from ocrbatch.config import load
from ocrbatch.pipeline.run import run
from ocrbatch.report.summary import RunReport

DOCUMENTS = Path(__file__).parent / "resources" / "documents"
BROKEN = DOCUMENTS.parent / "broken"
CONTENT = [
    "page_index",
    "page_count",
    "status",
    "width",
    "height",
    "dpi",
    "texts",
    "scores",
    "polygons",
    "boxes",
    "det_scores",
    "line_angles",
    "rejected_polygons",
    "text",
    "page_sha256",
    "models",
    "fingerprint",
]


def job(output: Path | str, *overrides: str) -> RunReport:
    """Runs a job with `key=value` overrides in this process."""
    return run(load("", [f"output.uri={output}", *overrides]), say=lambda line: None)


def rows(output: Path, kind: str = "pages") -> list[dict]:
    """All rows, file by file, in the order of their keys."""
    parts = sorted((output / kind).rglob("*.parquet"))
    found = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], -1 if row["page_index"] is None else row["page_index"]))


def content(found: list[dict]) -> list[tuple]:
    """What must be equal between runs: all but uri's folder, etag, times and the run's id."""
    picked = [(row["uri"].replace("!", "/").rsplit("/", 1)[-1], *(row[name] for name in CONTENT)) for row in found]
    return sorted(picked, key=lambda row: row[:2])


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder: its time and its bytes."""
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
