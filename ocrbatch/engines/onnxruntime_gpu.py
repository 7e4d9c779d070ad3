"""ONNX Runtime on GPUs, by CUDA or TensorRT: bytes and best classes alone cross PCIe (`onnx_graph`), by memory that is
pinned and bound once, and two calls are in flight.

Invariant: how a row is computed follows from its shape alone: each call of a shape has the same number of rows, zeros
where there are fewer, because cuDNN picks its kernels by the whole shape. A shape has a session of its own, because a
session's convolutions keep the plan of their last shape only: calls of changing shapes plan each of them anew.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, redirect_stdout
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ocrbatch.engines.base import Engine, EngineOptions, Outputs, Weights, checked_batch, checked_outputs, rows_of
from ocrbatch.engines.lanes import side_by_side
from ocrbatch.engines.onnxruntime import PROVIDERS, errors_of, settings_for
from ocrbatch.engines.pinned import pinned
from ocrbatch.errors import MissingExtraError, ModelError, UsageError
from ocrbatch.models.weights import LINE_HEIGHT
from ocrbatch.records import Pixels

Shape = tuple[int, int, int, int]

OPTIONS: Final = {"provider", "tf32", "sessions", "gpu_mem_limit", "trt_engine_cache_path"}
# Calls in flight: while one computes, the other's pixels go to the GPU and its results come back.
LANES: Final = 2
# More than the recognizer's 29 widths: an LRU that is smaller than a cycle through it misses every time.
SESSIONS: Final = 32
# What is loaded first, to see that the model and the GPU are good.
FIRST: Final = {"map": (64, 64), "ctc": (LINE_HEIGHT, 320)}
# TensorRT builds an engine for minutes, so its maps, whose sizes are without number, share one, and go one by one: its
# memory is laid out for the largest batch of the largest page. Sides of pages, in pixels, as PaddleX bounds them.
MAP_SIDES: Final = {"min": 32, "opt": 1024, "max": 4000}


class OnnxRuntimeGpuEngine(Engine):
    """One model in ONNX Runtime; see `Engine`. On the device cpu it does all of this with the provider for CPUs.

    options.extra: `provider`, cuda or tensorrt (fp16 is TensorRT's). `tf32`: true lets fp32 products be rounded to 10
    bits. `sessions`, bound of those that are kept, one a shape. `gpu_mem_limit`, bytes of each.
    `trt_engine_cache_path`, a folder that saves TensorRT's minutes of building; TensorRT takes the kernels that it
    finds the fastest, so only who shares one has the same bits.
    """

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        try:
            import onnxruntime as ort

            from ocrbatch.engines.onnx_graph import OUTPUTS, PIXELS, SIDES, graph
        except ImportError as error:
            raise MissingExtraError("onnxruntime-gpu and onnx", "gpu", "The engine onnxruntime on a GPU") from error
        _check_options(ort, options)
        if options.device == "gpu":
            with redirect_stdout(sys.stderr):
                ort.preload_dlls()  # CUDA and cuDNN as pip brings them
        self._ort, self._errors = ort, errors_of(ort)
        self._weights, self._options = weights, options
        self._names, self._sides = (PIXELS, OUTPUTS[weights.head]), SIDES
        self._is_tensorrt = _is_tensorrt(options)
        self._limit = int(options.extra.get("sessions", SESSIONS))
        self._places: OrderedDict[Shape, list[_Place]] = OrderedDict()  # of each shape one a lane
        self._free: SimpleQueue[int] = SimpleQueue()
        for lane in range(LANES):
            self._free.put(lane)
        self._pool = ThreadPoolExecutor(LANES, "onnxruntime")
        refusals: tuple[type[Exception], ...] = (ValueError, OSError, *self._errors)
        try:
            self._model = graph(weights)
            self._any_size = self._session(None) if self._is_tensorrt and weights.head == "map" else None
            self._ready(self._call_shape(*FIRST[weights.head]))
        except refusals as error:
            raise ModelError(
                f"ONNX Runtime can't load {weights.path}: {error}", "Check that it is an ONNX model."
            ) from error

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        (found,) = self.run_many([pixels])
        return found

    def run_many(self, batches: Iterable[Pixels]) -> Generator[Outputs]:
        """Executes batches, LANES calls at once, of whatever shapes; see `Engine.run_many`."""
        # One batch more than lanes: the next call starts before what is done goes out to be worked on.
        calls = side_by_side(map(self._calls, batches), self._start, LANES, alike=True, ahead=LANES + 1)
        with closing(calls) as found:
            yield from map(self._joined, found)

    def rows_computed(self, shape: tuple[int, ...]) -> int:
        """See `Engine.rows_computed`."""
        rows = self._call_shape(*shape[1:3])[0]
        return -(-shape[0] // rows) * rows

    def _call_shape(self, height: int, width: int) -> Shape:
        """Of each call with rows of this size."""
        if self._weights.head == "ctc":
            return rows_of(width, self._options.batch_pixels), height, width, 3
        return 1 if self._is_tensorrt else rows_of(height * width, self._options.batch_pixels), height, width, 3

    def _calls(self, pixels: Pixels) -> list[Pixels]:
        """A batch cut into the model's calls."""
        pixels = checked_batch(pixels)
        rows = self._call_shape(*pixels.shape[1:3])[0]
        return [pixels[k : k + rows] for k in range(0, len(pixels), rows)]

    def _start(self, pixels: Pixels) -> Future[list[NDArray[Any]]]:
        return self._pool.submit(self._infer, self._ready(self._call_shape(*pixels.shape[1:3])), pixels)

    def _infer(self, places: Sequence[_Place], pixels: Pixels) -> list[NDArray[Any]]:
        lane = self._free.get()
        try:
            return places[lane].infer(pixels)
        except self._errors as error:
            raise RuntimeError(f"ONNX Runtime failed on {pixels.shape}: {error}") from error
        finally:
            self._free.put(lane)

    def _joined(self, found: Sequence[list[NDArray[Any]]]) -> Outputs:
        outputs = [calls[0] if len(calls) == 1 else np.concatenate(calls) for calls in zip(*found, strict=True)]
        if self._weights.head == "map":
            return checked_outputs((outputs[0][:, 0],))
        return checked_outputs((outputs[0][:, :, 0], outputs[1][:, :, 0]))

    def _ready(self, shape: Shape) -> list[_Place]:
        """A session for calls of this shape, made at its first use, the least used one dropped for it."""
        if shape in self._places:
            self._places.move_to_end(shape)
            return self._places[shape]
        while len(self._places) >= self._limit:
            self._places.popitem(last=False)
        session = self._any_size or self._session(shape)
        device = "cuda" if self._options.device == "gpu" else "cpu"
        self._places[shape] = [_Place(self._ort, session, shape, device, *self._names) for _ in range(LANES)]
        return self._places[shape]

    def _session(self, shape: Shape | None) -> Any:
        """A session for this shape; None for any."""
        settings = settings_for(self._ort, self._options)
        if shape is not None:
            for name, size in zip(self._sides, shape, strict=False):
                settings.add_free_dimension_override_by_name(name, size)
        chosen = providers(self._weights, self._options, self._names[0], shape)
        with redirect_stdout(sys.stderr):  # where it says why it falls back
            session = self._ort.InferenceSession(self._model, settings, providers=chosen)
        wanted, got = chosen[0][0], session.get_providers()[0]
        if wanted != got:
            raise UsageError(
                f"ONNX Runtime could not start its {wanted} and fell back to {got}",
                "Install NVIDIA's driver, and the CUDA, cuDNN (and TensorRT) that this onnxruntime-gpu wants, or set "
                "engine.device=cpu.",
            )
        return session


class _Place:
    """Where the calls of one shape and lane have their pixels and results: made once, for one call at a time."""

    def __init__(self, ort: Any, session: Any, shape: Shape, device: str, pixels: str, outputs: Sequence[str]) -> None:
        self._session, self._outputs = session, outputs
        self._given = pinned(shape, np.uint8)
        self._there = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.uint8, device, 0)
        self._found: list[NDArray[Any]] = []
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(pixels, self._there)
        for name in outputs:
            self._binding.bind_output(name, "cpu")

    def infer(self, pixels: Pixels) -> list[NDArray[Any]]:
        """Runs the session; gives the outputs' rows for these rows of pixels, of which there may be fewer than fit."""
        count = len(pixels)
        self._given[:count] = pixels
        self._given[count:] = 0
        self._there.update_inplace(self._given)
        self._session.run_with_iobinding(self._binding)
        if not self._found:
            self._keep()
        return [found[:count].copy() for found in self._found]  # the next call overwrites them

    def _keep(self) -> None:
        """After the first call, which tells the outputs' shapes: gives them memory of their own for all that follow."""
        for name, value in zip(self._outputs, self._binding.get_outputs(), strict=True):
            found = value.numpy()
            memory = pinned(found.shape, found.dtype)
            memory[:] = found
            self._found.append(memory)
            self._binding.bind_output(name, "cpu", 0, found.dtype.type, found.shape, memory.ctypes.data)


def _check_options(ort: Any, options: EngineOptions) -> None:
    if unknown := set(options.extra) - OPTIONS:
        raise UsageError(
            f"the engine onnxruntime has no option {min(unknown)!r}",
            f"engine.options takes {', '.join(sorted(OPTIONS))}.",
        )
    wanted = PROVIDERS["cpu" if options.device != "gpu" else "tensorrt" if _is_tensorrt(options) else "cuda"]
    if wanted not in ort.get_available_providers():
        raise UsageError(
            f"this build of ONNX Runtime has no {wanted}",
            "Install onnxruntime-gpu in place of onnxruntime (both bring the same module), or set engine.device=cpu.",
        )


def _is_tensorrt(options: EngineOptions) -> bool:
    return options.device == "gpu" and (options.extra.get("provider") == "tensorrt" or options.precision == "fp16")


def providers(weights: Weights, options: EngineOptions, pixels: str, shape: Shape | None) -> list[Any]:
    """The provider for a session of this shape, and those for what it doesn't do, each with its own options.

    pixels: name of the input. shape: None for any.
    """
    extra = options.extra
    cpu: tuple[str, dict[str, str]] = (PROVIDERS["cpu"], {})
    if options.device != "gpu":
        return [cpu]
    cuda = {
        # not the default EXHAUSTIVE: that one times the kernels and takes the fastest, another one each time
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": str(int(bool(extra.get("tf32")))),
        "arena_extend_strategy": "kSameAsRequested",  # there is an arena for each shape
    }
    if "gpu_mem_limit" in extra:
        cuda["gpu_mem_limit"] = str(extra["gpu_mem_limit"])
    if not _is_tensorrt(options):
        return [(PROVIDERS["cuda"], cuda), cpu]
    tensorrt = {"trt_fp16_enable": str(options.precision == "fp16")}
    if "trt_engine_cache_path" in extra:
        # Engines are named by the graph's nodes, which are the same for each shape.
        sides = "any" if shape is None else "x".join(map(str, shape))
        folder = Path(str(extra["trt_engine_cache_path"])) / f"{weights.name}-{weights.digest[:12]}-{sides}"
        folder.mkdir(parents=True, exist_ok=True)
        tensorrt |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(folder)}
    if shape is None:
        for name, side in MAP_SIDES.items():
            tensorrt[f"trt_profile_{name}_shapes"] = f"{pixels}:1x{side}x{side}x3"
    return [(PROVIDERS["tensorrt"], tensorrt), (PROVIDERS["cuda"], cuda), cpu]
