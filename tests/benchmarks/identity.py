"""Do equal pages give equal bits? `python tests/benchmarks/identity.py FOLDER` (`make hashes`).

Reads every page below FOLDER in one process with each engine, several batch sizes, orders and numbers of threads, and
prints a hash of texts, scores, polygons and boxes for each. Exits 1 when two settings of one engine differ.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ocrbatch import OcrPipeline
from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import PageFailure, iter_pages
from ocrbatch.documents.sandbox import Sandbox
from ocrbatch.errors import DocumentError
from ocrbatch.records import PageRecord, Pixels

ENGINES = ("openvino", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to read the same pages. batch: pages together; seed: of the order, None for the folder's own."""

    engine: str
    threads: int
    batch: int
    seed: int | None

    def pipeline(self) -> OcrPipeline:
        return OcrPipeline(
            engine={"name": self.engine, "threads": self.threads},
            pipeline={"page_batch": self.batch},
        )

    def order(self, pages: int) -> list[int]:
        indices = list(range(pages))
        if self.seed is not None:
            random.Random(self.seed).shuffle(indices)
        return indices


def settings(engines: Sequence[str]) -> list[Setting]:
    """Batches of 1, 4 and 16, one and two threads; each but the first of an engine in an order of its own."""
    ways = [(threads, batch) for threads in (1, 2) for batch in (1, 4, 16)]
    return [
        Setting(engine, threads, batch, seed or None)
        for engine in engines
        for seed, (threads, batch) in enumerate(ways)
    ]


def decode(folder: Path) -> list[Pixels]:
    """Every page below `folder`, (H, W, 3) uint8 RGB; says which files are no documents."""
    images: list[Pixels] = []
    with Sandbox(JobConfig().documents) as sandbox:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            try:
                for page in iter_pages(sandbox, path):
                    if isinstance(page, PageFailure):
                        raise page.error
                    images.append(page.image)
            except DocumentError as error:
                print(f"  passed over {path}: {error}")
    return images


def digest(record: PageRecord) -> bytes:
    """A hash of all that was read on a page, to the last bit of each score."""
    total = hashlib.sha256()
    for line in (*record.lines, *record.rejected):
        total.update(line.text.encode() + b"\0")
        total.update(np.array([line.score, line.det_score], np.float64).tobytes())
        total.update(line.polygon.astype(np.int64).tobytes() + np.array(line.box, np.int64).tobytes())
    return total.digest()


def read(setting: Setting, images: Sequence[Pixels]) -> tuple[str, int]:
    """The hash of all pages, in the folder's order however they were read, and their number of lines."""
    order = setting.order(len(images))
    digests: dict[int, bytes] = {}
    lines = 0
    for index, record in zip(order, setting.pipeline().read(images[i] for i in order), strict=True):
        digests[index] = digest(record)
        lines += len(record.lines)
    return hashlib.sha256(b"".join(digests[i] for i in range(len(images)))).hexdigest()[:16], lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="documents to read")
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    arguments = parser.parse_args(argv)
    images = decode(arguments.folder)
    if not images:
        parser.error(f"no page could be read in {arguments.folder}")
    print(f"{len(images)} pages\n{'engine':<12} {'threads':>7} {'batch':>5}  {'order':<9} {'lines':>5}  hash")
    found: defaultdict[str, set[str]] = defaultdict(set)
    for setting in settings(arguments.engines):
        value, lines = read(setting, images)
        found[setting.engine].add(value)
        order = "as listed" if setting.seed is None else f"seed {setting.seed}"
        print(
            f"{setting.engine:<12} {setting.threads:>7} {setting.batch:>5}  {order:<9} {lines:>5}  {value}", flush=True
        )
    unequal = [engine for engine, values in found.items() if len(values) > 1]
    print(f"DIFFERENT BITS: {', '.join(unequal)}" if unequal else "the same bits for each engine")
    return int(bool(unequal))


if __name__ == "__main__":
    sys.exit(main())
