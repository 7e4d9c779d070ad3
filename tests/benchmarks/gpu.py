"""Pages a second on a GPU, how busy it is, and what crosses PCIe: `python tests/benchmarks/gpu.py` (`make gpu-bench`).

Reads drawn forms, or given documents, by ONNX Runtime's engine for GPUs with each provider, precision and number of
workers: processes that share the GPU, detect and recognize, decoded and warmed before the clock starts. The texts are
set against those of the CPU. Without a GPU it says so and ends; `--device cpu` runs it all on the CPU, as a rehearsal.

busy, PCIe in and out: means of `nvidia-smi dmon` over the timed seconds. MB a page: of the memory that is bound to the
calls. filled: share of the columns in calls for lines that are of lines, and not of padding or empty rows. host: CPU
time a page.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import cycle, product
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any
from unittest import mock

import cv2
from environments import model_folders, surroundings
from identity import decode

sys.path.insert(0, str(Path(__file__).parent.parent))
from forms import forms

from ocrbatch.config import load
from ocrbatch.detection.detector import Detector
from ocrbatch.engines import gpu, onnxruntime_gpu
from ocrbatch.engines.base import EngineOptions
from ocrbatch.errors import OcrBatchError
from ocrbatch.evaluation.metrics import CharacterAgreement
from ocrbatch.reading.reader import Reader, Reading, weights
from ocrbatch.recognition.recognizer import Recognizer
from ocrbatch.records import Pixels

HERE = Path(__file__).parent
COMPARED = 8  # pages, with the CPU
START_SECONDS = 600  # TensorRT builds for minutes


def models(name: str) -> dict[str, str]:
    """The config for these models on the CPU."""
    names = {"detection.model_name": f"{name}_det", "recognition.model_name": f"{name}_rec"}
    return {"engine.name": "onnxruntime", "engine.device": "cpu", **names}


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to read the pages. batch, page: pixels of the lines, and of the pages, in one call."""

    provider: str
    precision: str
    tf32: bool
    workers: int
    batch: int
    page: int
    device: str = "gpu"

    def __str__(self) -> str:
        precision = "tf32" if self.tf32 else self.precision
        return f"{self.provider} {precision}, {self.workers} workers, {self.batch:,} and {self.page:,} px"

    def reader(self, model: str, cache: str) -> Reader:
        """Loads the models as this setting wants them."""
        config = load(
            values=models(model) | {"detection.batch_pixels": self.page, "recognition.batch_pixels": self.batch}
        )
        extra: dict[str, Any] = {"provider": self.provider, "tf32": self.tf32}
        if self.provider == "tensorrt":
            extra["trt_engine_cache_path"] = cache
        options = EngineOptions(self.device, self.precision, threads=1, extra=extra)
        lines, pages = weights(config, "recognition"), weights(config, "detection")
        detector = onnxruntime_gpu.OnnxRuntimeGpuEngine(pages, replace(options, batch_pixels=self.page))
        recognizer = onnxruntime_gpu.OnnxRuntimeGpuEngine(lines, replace(options, batch_pixels=self.batch))
        return Reader(
            config,
            Detector(detector, config.detection, pages.max_candidates, together=True),
            Recognizer(recognizer, lines.characters, config.recognition),
        )


@contextmanager
def counted(calls: list[tuple[int, int]]) -> Iterator[None]:
    """Adds bytes in and out of each call of this process that is made within a `with`."""
    infer = onnxruntime_gpu._Place.infer

    def infer_and_count(place: Any, pixels: Pixels) -> Any:
        outputs = infer(place, pixels)
        calls.append((place._given.nbytes, sum(array.nbytes for array in place._found)))
        return outputs

    with mock.patch.object(onnxruntime_gpu._Place, "infer", infer_and_count):
        yield


def work(setting: Setting, ready: Any, replies: Any, *given: Any) -> None:
    """One worker; what it found, or why there is nothing, goes to `replies`."""
    try:
        reply = timed(setting, ready, *given)
    except BrokenBarrierError:
        reply = {"refused": "another worker did not start"}
    except (OcrBatchError, RuntimeError) as error:
        ready.abort()
        reply = {"refused": str(error)}
    replies.put(reply)


def timed(
    setting: Setting, ready: Any, model: str, cache: str, batches: list[list[Pixels]], seconds: float
) -> dict[str, Any]:
    """Warms up on all pages, waits for the other workers, and reads on until the time is up."""
    cv2.setNumThreads(1)
    if setting.device == "gpu" and find_spec("torch"):
        __import__("torch")  # brings CUDA and cuDNN, which ONNX Runtime then finds in the process
    reader = setting.reader(model, cache)
    read = [page for some in batches for page in reader.read(some)]
    ready.wait(START_SECONDS)
    calls: list[tuple[int, int]] = []
    pages, before = 0, reader.fill
    cpu, started = time.process_time(), time.perf_counter()
    with counted(calls):
        for some in cycle(batches):
            pages += len(reader.read(some))
            if (taken := time.perf_counter() - started) >= seconds:
                break
    given, found = (sum(column) for column in zip(*calls, strict=True))
    fill = reader.fill - before
    return {
        "pages": pages,
        "seconds": taken,
        "cpu_seconds": time.process_time() - cpu,
        "given": given,
        "found": found,
        "useful": fill.useful,
        "columns": fill.total,
        "texts": [text_of(page) for page in read[:COMPARED]],
    }


def text_of(page: Reading) -> str:
    return "\n".join(line.text for line in page.lines)


def watched(process: subprocess.Popen[str] | None) -> dict[str, float]:
    """The means of what `nvidia-smi dmon` told until it ended; nothing where it did not run, or told nothing."""
    if process is None:
        return {}
    told, _ = process.communicate()
    lines = [line.split() for line in told.splitlines()]
    names = next((line[1:] for line in lines if line[:1] == ["#"] and "sm" in line), [])
    rows = [dict(zip(names, line, strict=False)) for line in lines if line and line[0] != "#"]
    found = {}
    for name, column in (("busy", "sm"), ("memory_mib", "fb"), ("pcie_in", "rxpci"), ("pcie_out", "txpci")):
        values = [float(row[column]) for row in rows if row.get(column, "-") != "-"]
        if values:
            found[name] = statistics.mean(values)
    return found


def measure(setting: Setting, model: str, cache: str, batches: list[list[Pixels]], seconds: float) -> dict[str, Any]:
    """Runs one setting's workers side by side; see the module's docstring for what comes out."""
    spawn = multiprocessing.get_context("spawn")
    ready, replies = spawn.Barrier(setting.workers + 1), spawn.Queue()
    arguments = (setting, ready, replies, model, cache, batches, seconds)
    workers = [spawn.Process(target=work, args=arguments) for _ in range(setting.workers)]
    for worker in workers:
        worker.start()
    watching = None
    with suppress(BrokenBarrierError):
        ready.wait(START_SECONDS)
        if setting.device == "gpu" and shutil.which("nvidia-smi"):
            command = ["nvidia-smi", "dmon", "-i", "0", "-s", "umt", "-d", "1", "-c", str(max(1, int(seconds) - 1))]
            watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    found = [replies.get(timeout=START_SECONDS + 10 * seconds) for _ in workers]
    seen = watched(watching)
    for worker in workers:
        worker.join()
    if refused := [reply["refused"] for reply in found if "refused" in reply]:
        return {"refused": next((why for why in refused if "another worker" not in why), refused[0])}
    pages = sum(reply["pages"] for reply in found)
    return {
        "pages_per_second": sum(reply["pages"] / reply["seconds"] for reply in found),
        **seen,
        "mb_in_a_page": sum(reply["given"] for reply in found) / pages / 1e6,
        "mb_out_a_page": sum(reply["found"] for reply in found) / pages / 1e6,
        "filled": sum(reply["useful"] for reply in found) / sum(reply["columns"] for reply in found),
        "host_ms_a_page": 1e3 * sum(reply["cpu_seconds"] for reply in found) / pages,
        "texts": found[0]["texts"],
    }


def agreement(texts: Sequence[str], expected: Sequence[str]) -> float:
    total = CharacterAgreement()
    for found, wanted in zip(texts, expected, strict=True):
        total.update(found, wanted)
    return total.summary().agreement


def paddleocr(python: Path, engine: str, model: str, images: Sequence[Pixels]) -> dict[str, Any]:
    """PaddleOCR in its own environment on the same card: one process, pages one by one, as it does it."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{place:04d}.png")) for place in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            cv2.imwrite(path, image[:, :, ::-1])
        entry, report = Path(folder, "entry.json"), Path(folder, "report.json")
        weights_folder = str(model_folders(model, Path(folder)))
        entry.write_text(json.dumps({"engine": engine, "device": "gpu:0", "weights": weights_folder, "pages": paths}))
        command = [str(python), str(HERE / "contestants/paddleocr_.py"), str(entry), str(report)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=surroundings(Path(folder, "home"))
        )
        if done.returncode:
            return {"refused": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"}
        told = json.loads(report.read_text("utf8"))
        return {
            "pages_per_second": len(images) / told["seconds"],
            "host_ms_a_page": 1e3 * told["cpu_seconds"] / len(images),
            "versions": told["versions"],
        }


def settings(arguments: argparse.Namespace) -> list[Setting]:
    """What is compared: each provider and precision that can be had, each number of workers and size of calls."""
    kinds = [("cuda", "fp32", False), ("cuda", "fp32", True), ("tensorrt", "fp32", False), ("tensorrt", "fp16", False)]
    if arguments.device == "cpu":
        kinds = kinds[:1]
    sizes = product(arguments.workers, arguments.batch_pixels, arguments.page_pixels)
    return [
        Setting(*kind, *size, device=arguments.device)
        for size in sizes
        for kind in kinds
        if kind[0] in arguments.providers
    ]


COLUMNS = {
    "pages_per_second": ("pages/s", ".1f"),
    "busy": ("busy %", ".0f"),
    "memory_mib": ("GPU MiB", ".0f"),
    "pcie_in": ("in MB/s", ".0f"),
    "pcie_out": ("out MB/s", ".0f"),
    "mb_in_a_page": ("MB in", ".2f"),
    "mb_out_a_page": ("MB out", ".2f"),
    "filled": ("filled", ".0%"),
    "host_ms_a_page": ("host ms", ".1f"),
    "agreement": ("as CPU", ".2%"),
}


def row(label: str, found: dict[str, Any]) -> None:
    if "refused" in found:
        print(f"{label:<48} left out: {found['refused']}", flush=True)
        return
    cells = [f"{format(found[name], kind) if name in found else '-':>9}" for name, (_, kind) in COLUMNS.items()]
    print(f"{label:<48}" + "".join(cells), flush=True)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--documents", type=Path, help="folder of documents in place of the drawn forms")
    parser.add_argument("--pages", type=int, default=64, help="how many forms are drawn")
    parser.add_argument("--seconds", type=float, default=15, help="how long each setting is timed")
    parser.add_argument("--page-batch", type=int, default=16, help="pages that a worker takes at once")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--providers", nargs="+", default=["cuda", "tensorrt"], choices=["cuda", "tensorrt"])
    parser.add_argument("--batch-pixels", type=int, nargs="+", default=[8192], help="see recognition.batch_pixels")
    parser.add_argument("--page-pixels", type=int, nargs="+", default=[4 << 20], help="see detection.batch_pixels")
    parser.add_argument("--model", default="PP-OCRv6_small")
    parser.add_argument("--engines", default="build/tensorrt", help="folder of TensorRT's engines")
    parser.add_argument("--paddleocr", type=Path, help="Python of an environment with PaddleOCR for this GPU")
    parser.add_argument("--paddleocr-engine", default="onnxruntime", choices=["onnxruntime", "paddle"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.device == "gpu" and not gpu.visible():
        print("left out: no NVIDIA GPU is visible here (--device cpu rehearses it on the CPU)")
        return 0
    images = decode(arguments.documents) if arguments.documents else forms(arguments.pages)
    batches = [images[k : k + arguments.page_batch] for k in range(0, len(images), arguments.page_batch)]
    cpu = Reader.load(load(values=models(arguments.model)))
    expected = [text_of(page) for page in cpu.read(images[:COMPARED])]
    print(f"{len(images)} pages, {arguments.model}, {gpu.name() or 'CPU'}, {os.cpu_count()} CPUs")
    print(" " * 48 + "".join(f"{title:>9}" for title, _ in COLUMNS.values()), flush=True)
    results = []
    for setting in settings(arguments):
        found = measure(setting, arguments.model, arguments.engines, batches, arguments.seconds)
        if "texts" in found:
            found["agreement"] = agreement(found.pop("texts"), expected)
        row(str(setting), found)
        results.append(asdict(setting) | found)
    rival: dict[str, Any] = {"refused": "--paddleocr was not given"}
    if arguments.paddleocr:
        rival = paddleocr(arguments.paddleocr, arguments.paddleocr_engine, arguments.model, images)
    row("PaddleOCR", rival)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"pages": len(images), "gpu": gpu.name(), "cpus": os.cpu_count(), "results": results}
        arguments.json.write_text(json.dumps(figures | {"paddleocr": rival}, indent=1) + "\n", encoding="utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
