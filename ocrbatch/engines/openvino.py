"""OpenVINO, the engine for CPUs: bytes go into its graph, and a ctc head is a graph of its own (`openvino_graph`).

Invariant: how a row is computed follows from its shape alone. A map goes page by page through one model with dynamic
shapes, a ctc batch through models of fixed shape, one for each width (and for narrow ones a second, of ROWS rows).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Lock, local
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ocrbatch.engines import cpu
from ocrbatch.engines.base import Engine, EngineOptions, Outputs, Weights, checked_batch, checked_outputs
from ocrbatch.engines.lanes import side_by_side
from ocrbatch.errors import MissingExtraError, ModelError, UsageError
from ocrbatch.records import Pixels

HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
CAP: Final = "ONEDNN_MAX_CPU_ISA"
_CAPS: Final[set[str]] = set()  # what this process has settled on, empty before its first engine
# Rows that share a call, and up to which width it pays: with bf16 on one thread of an AMD EPYC a line of 128 px takes
# 3.5 ms alone and 2.7 among four, of 320 px 6.9 and 6.2, of 640 px 13.3 either way, and of 1,280 px 27 and 29.
ROWS: Final = 4
ROWS_WIDTH: Final = 320
# Calls of a ctc model at once, each with its share of the threads: small layers leave threads waiting. On two cores
# receipts are recognized in 152 ms a page, with both threads in one call in 167. The calls are of different shapes: a
# second stream would add 40% to the memory of each.
LANES: Final = 2
# Steps of lines in one call of a head that stands apart: 17 us each (bf16, one thread), of 16 in a call 19, of 128 20.
STEPS: Final = 32
# Kernels that a model of dynamic shapes keeps for sizes it has seen. By the plugin's own bound of 5,000 the detector
# grew by 701 MiB over 320 pages of as many sizes; by this one by 322, with the same bits. Pages of ever new sizes then
# take a tenth longer: 80 ms against 73 (medians of three turns).
KERNELS: Final = 200


class OpenVinoEngine(Engine):
    """One model in OpenVINO's CPU plugin; see `Engine`.

    options.extra: names in capitals go to the plugin as they are.
    """

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        _cap(options.isa_cap)
        try:
            import openvino as ov

            from ocrbatch.engines.openvino_graph import graph, head_graph
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino", "The engine openvino") from error
        self._core = ov.Core()
        self._head = weights.head
        self._limit = shapes_within(options.memory_mb << 20, Path(weights.path).stat().st_size)
        lanes = min(LANES, options.threads) if weights.head == "ctc" else 1
        self._pool = ThreadPoolExecutor(lanes, "openvino") if lanes > 1 else None
        self._properties = _properties(options, threads=-(-options.threads // lanes))
        self._compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = Lock()
        self._classes: Any = None  # the graph of the head, where it stands apart
        self._mine = local()
        try:
            self._model, head = graph(self._core.read_model(weights.path), weights)
            if weights.head == "map":
                self._request(())
            elif head:
                self._classes = head_graph(head, STEPS)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO can't load {weights.path}: {_first_line(error)}",
                "Check that it is a detection or recognition model in ONNX format; else set engine.name=onnxruntime.",
            ) from error

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`.

        Static shapes save a page of 1,024 x 768 px 10 of 50 ms, but compiling one takes 200-400 ms: it would pay after
        some 20 pages of exactly one size. A ctc model with dynamic shapes takes 2.5 ms a call longer, of 3.5 to 13.
        """
        calls = self._calls(pixels)
        return self._joined([self._call(call) for call in calls])

    def run_many(self, batches: Iterable[Pixels]) -> Generator[Outputs]:
        """Executes batches, with more than one thread LANES calls of a ctc model at once; see `Engine.run_many`."""
        if self._pool is None:
            yield from map(self.run, batches)
            return
        with closing(side_by_side(map(self._calls, batches), self._start, LANES)) as found:
            yield from map(self._joined, found)

    def _calls(self, pixels: Pixels) -> list[Pixels]:
        """A batch cut into the model's calls."""
        pixels = checked_batch(pixels)
        width = pixels.shape[2]
        rows = ROWS if self._head == "ctc" and width <= ROWS_WIDTH else 1
        fours = len(pixels) // rows * rows
        return [*(pixels[k : k + rows] for k in range(0, fours, rows)), *(row[None] for row in pixels[fours:])]

    def _joined(self, found: Sequence[list[Any]]) -> Outputs:
        outputs = tuple(np.concatenate(same) for same in zip(*found, strict=True))
        return checked_outputs((outputs[0][:, 0],) if self._head == "map" else outputs)

    def _start(self, pixels: Pixels) -> Future[list[Any]]:
        assert self._pool is not None
        return self._pool.submit(self._call, pixels)

    def _call(self, pixels: Pixels) -> list[Any]:
        found = _infer(self._request(pixels.shape), pixels)
        return found if self._classes is None else self._best(found[0])

    def _best(self, features: NDArray[np.float32]) -> list[Any]:
        """What a head that stands apart makes of (B, T, C), STEPS at a time: classes and probabilities, (B, T)."""
        if not hasattr(self._mine, "head"):  # one for each lane: two streams of one get in each other's way
            self._mine.head = self._compile(self._classes)
        lines, steps, channels = features.shape
        count = lines * steps
        whole = np.zeros((-(-count // STEPS) * STEPS, channels), np.float32)
        whole[:count] = features.reshape(count, channels)
        found = [_infer(self._mine.head, whole[k : k + STEPS]) for k in range(0, len(whole), STEPS)]
        return [np.concatenate(same)[:count].reshape(lines, steps) for same in zip(*found, strict=True)]

    def _request(self, shape: tuple[int, ...]) -> Any:
        """An infer request for pixels of this shape, compiled at its first use, the least used one dropped for it.

        Calls of one shape never run beside each other, so none is compiled twice; those of others compile beside it.
        """
        if self._head == "map":
            shape = (-1, -1, -1, 3)
        with self._lock:
            if shape in self._compiled:
                self._compiled.move_to_end(shape)
                return self._compiled[shape]
            model = self._model.clone()  # shares the constants
            model.reshape(list(shape))
        request = self._compile(model)
        with self._lock:
            self._compiled[shape] = request
            if len(self._compiled) > self._limit:
                self._compiled.popitem(last=False)
        return request

    def _compile(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._properties).create_infer_request()


def shapes_within(memory: int, file: int) -> int:
    """How many shapes of a model whose file has so many bytes may be compiled within so much memory; two at least.

    Of PP-OCRv6_small_rec, 20 MiB, a shape takes 17 MiB in bf16, without its head, and 0.15 s to compile. An LRU that is
    smaller than a cycle through it misses every time: its 29 widths, 9 of them in a second model for ROWS, take 38.
    """
    return max(2, memory // max(1, file))


def _infer(request: Any, pixels: Pixels) -> list[Any]:
    request.infer([pixels], share_inputs=True)
    return [np.array(tensor.data) for tensor in request.output_tensors]  # copies: the next call overwrites them


def _properties(options: EngineOptions, threads: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[options.precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # workers of one machine would all pin themselves to the same first cores
        "PERFORMANCE_HINT": "LATENCY",
        "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
    }
    for key, value in options.extra.items():
        if key.isupper():
            found[key] = value
        else:
            raise UsageError(
                f"the engine openvino has no option {key!r}",
                "engine.options takes the plugin's own names, in capitals.",
            )
    return found


def _cap(isa: str | None) -> None:
    """Makes a cap hold in this process. Raises UsageError when oneDNN already runs with another one.

    oneDNN reads the variable once, when it first asks for the CPU's features, so a process has one cap for good.
    """
    wanted = "" if isa is None or isa == cpu.level() else cpu.ONEDNN[isa]
    current = os.environ.get(CAP, "")
    if current != wanted and (current or _CAPS):
        raise UsageError(
            f"engine.isa_cap asks for {wanted or 'no cap'}, but this process runs with {current or 'no cap'} ({CAP})",
            f"Unset {CAP}, and use one engine.isa_cap in a process.",
        )
    if wanted:
        os.environ[CAP] = wanted
    _CAPS.add(wanted)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return lines[0] if lines else str(error)
