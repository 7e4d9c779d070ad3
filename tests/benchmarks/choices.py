"""What each choice of the CPU engines gains: measured beside its alternative, in the same run, in turns.

    python tests/benchmarks/choices.py FOLDER

Times are medians over the rounds, on an otherwise idle machine; memory is the growth of a process of its own (RSS)
over so many pages of ever new sizes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import psutil
from identity import decode

from ocrbatch.config import JobConfig, load
from ocrbatch.engines import openvino, openvino_graph
from ocrbatch.engines.base import Engine
from ocrbatch.engines.registry import choose
from ocrbatch.engines.registry import load as load_engine
from ocrbatch.models.registry import resolve
from ocrbatch.reading.reader import Reader
from ocrbatch.records import Pixels

PAGE = (1, 1120, 800, 3)
SIZES = 320
PLAIN = nullcontext


def config(engine: str, threads: int) -> JobConfig:
    return load(values={"engine.name": engine, "engine.threads": threads})


def detector(engine: str, threads: int = 1) -> Engine:
    return load_engine(choose(config(engine, threads).engine), resolve("PP-OCRv6_small_det"))


def in_turns(rounds: int, **ways: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of each way, the first call of each left out."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, call in ways.items():
            started = time.perf_counter()
            call()
            if number:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return {f"{name}_ms": statistics.median(times) for name, times in taken.items()}


def head(rounds: int) -> dict[str, float]:
    """The detection head as the file has it, and rewritten."""
    page = np.random.default_rng(0).integers(0, 255, PAGE, np.uint8)
    rewritten = detector("openvino")
    with mock.patch.object(openvino_graph, "fast_map", lambda output: output):
        plain = detector("openvino")
    return in_turns(rounds, plain=partial(plain.run, page), rewritten=partial(rewritten.run, page))


def lanes(rounds: int, images: list[Pixels]) -> dict[str, float]:
    """Recognition on two threads: calls one after the other, and two side by side. Milliseconds a page."""
    side = Reader.load(config("openvino", 2))
    with mock.patch.object(openvino, "LANES", 1):
        single = Reader.load(config("openvino", 2), detection=False)
    pages = side.detect(images)
    found = in_turns(rounds, one=lambda: single.recognize(pages), two=lambda: side.recognize(pages))
    return {name: value / len(images) for name, value in found.items()}


def growth(engine: str, change: Callable[[], AbstractContextManager[Any]], sizes: int) -> dict[str, float]:
    """MiB that the detector's process grows by after a page, and milliseconds a page."""
    rng = np.random.default_rng(0)
    with change():
        model = detector(engine)
    model.run(np.zeros((1, 640, 640, 3), np.uint8))
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    for _ in range(sizes):
        height, width = 32 * rng.integers(10, 36, 2)
        model.run(np.full((1, height, width, 3), 200, np.uint8))
    seconds = time.perf_counter() - started
    return {"mib": (psutil.Process().memory_info().rss - before) / 2**20, "ms": 1e3 * seconds / sizes}


def unbounded() -> AbstractContextManager[Any]:
    """OpenVINO's own number of kernels."""
    return mock.patch.object(openvino, "KERNELS", 5000)


class _Planning(onnxruntime.InferenceSession):
    def __init__(self, path: str, settings: Any, **how: Any) -> None:
        settings.enable_mem_pattern = True
        super().__init__(path, settings, **how)


def planned() -> AbstractContextManager[Any]:
    """ONNX Runtime's plan of memory for each size."""
    return mock.patch.object(onnxruntime, "InferenceSession", _Planning)


def apart(call: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, arguments)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of documents whose lines are recognized")
    parser.add_argument("--sizes", type=int, default=SIZES, help="of pages, where memory is measured")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    images, sizes = decode(arguments.folder), arguments.sizes
    found = {
        "OpenVINO: detection head, 1,120 x 800 px, 1 thread": head(arguments.rounds),
        f"OpenVINO: lines of {len(images)} pages, a page, 2 threads": lanes(arguments.rounds, images),
        f"OpenVINO: {openvino.KERNELS} kernels, {sizes} sizes": apart(growth, "openvino", PLAIN, sizes),
        f"OpenVINO: 5,000 kernels, {sizes} sizes": apart(growth, "openvino", unbounded, sizes),
        f"ONNX Runtime: no plans, {sizes // 4} sizes": apart(growth, "onnxruntime", PLAIN, sizes // 4),
        f"ONNX Runtime: plans, {sizes // 4} sizes": apart(growth, "onnxruntime", planned, sizes // 4),
    }
    for name, values in found.items():
        print(f"{name:<58}" + "   ".join(f"{key} {value:,.1f}" for key, value in values.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
