"""ONNX Runtime: on the CPU the exact arithmetic of PaddleX in fp32; on GPUs by CUDA or TensorRT.

Invariant: how a row is computed follows from its shape alone. Its matrix kernels differ between one row and
several (probabilities by up to 5e-6, measured), but not between 2 and 20, nor by threads or neighbours: so rows of one
width either all go one by one, or never alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ocrbatch.engines.base import Engine, EngineOptions, Outputs, Weights, checked_batch, checked_outputs, rows_of
from ocrbatch.engines.host import Calls, Floats, filled, normalise, one_by_one, reduced, tables
from ocrbatch.errors import MissingExtraError, ModelError, UsageError
from ocrbatch.records import Pixels

# CPU, one thread of an AMD EPYC, ms a line alone and among eight: 64 px 3.5 and 2.5, 320 px 13.1 and 11.8, 512 px 19.2
# and 20.3, 1,024 px 38 and 62.
CPU_ROWS: Final = 8
CPU_ROWS_WIDTH: Final = 320
PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
OPTIONS: Final = {"provider", "gpu_mem_limit", "trt_engine_cache_path"}


class OnnxRuntimeEngine(Engine):
    """One model in ONNX Runtime; see `Engine`.

    options.extra, all for GPUs: `provider` (cuda or tensorrt; fp16 is TensorRT's), `gpu_mem_limit` in bytes,
    `trt_engine_cache_path`, a folder that saves TensorRT's minutes of building.
    """

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime", "The engine onnxruntime") from error
        self._errors = _errors(ort)
        self._head = weights.head
        self._tables = tables(weights)
        self._on_gpu = options.device == "gpu"
        self._batch_pixels = options.batch_pixels
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        settings.log_severity_level = 3
        settings.use_deterministic_compute = True
        # A plan for each shape: over 80 page sizes a detector grew by 245 MiB with them, by 117 without, as fast.
        settings.enable_mem_pattern = weights.head == "ctc"
        settings.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle workers shall leave the cores alone
        providers = _providers(ort, options)
        try:
            self._session = ort.InferenceSession(weights.path, settings, providers=providers)
        except self._errors as error:
            raise ModelError(
                f"ONNX Runtime can't load {weights.path}: {error}", "Check that it is an ONNX model."
            ) from error
        wanted, got = providers[0][0], self._session.get_providers()[0]
        if wanted != got:  # it falls back in silence
            raise UsageError(
                f"ONNX Runtime could not start its {wanted} and fell back to {got}",
                "Install the CUDA and cuDNN that this build of onnxruntime-gpu wants, or set engine.device=cpu.",
            )
        self._input = self._session.get_inputs()[0].name

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        pixels = checked_batch(pixels)
        return checked_outputs(reduced(self._head, (self._infer(*call) for call in self._calls(pixels))))

    def _calls(self, pixels: Pixels) -> Calls:
        count, _, width, _ = pixels.shape
        if self._head == "ctc" and self._on_gpu:
            return filled(pixels, rows_of(width, self._batch_pixels))
        if self._head == "ctc" and width <= CPU_ROWS_WIDTH:
            return [(part, max(2, len(part))) for part in np.array_split(pixels, -(-count // CPU_ROWS))]
        return one_by_one(pixels)

    def _infer(self, pixels: Pixels, rows: int) -> Floats:
        """Runs so many rows, those beyond the pixels' own being zeros, and gives the pixels' own."""
        try:
            (found,) = self._session.run(None, {self._input: normalise(pixels, self._tables, rows)})
        except self._errors as error:
            raise RuntimeError(f"ONNX Runtime failed on {pixels.shape}: {error}") from error
        result: Floats = found[: len(pixels)]
        return result


def _providers(ort: Any, options: EngineOptions) -> list[tuple[str, dict[str, Any]]]:
    extra = options.extra
    if unknown := set(extra) - OPTIONS:
        raise UsageError(
            f"the engine onnxruntime has no option {min(unknown)!r}",
            f"engine.options takes {', '.join(sorted(OPTIONS))}.",
        )
    cpu: tuple[str, dict[str, Any]] = (PROVIDERS["cpu"], {})
    if options.device != "gpu":
        return [cpu]
    # HEURISTIC, not the default EXHAUSTIVE: that one times the kernels and takes the fastest, another one each time.
    cuda = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    if "gpu_mem_limit" in extra:
        cuda["gpu_mem_limit"] = str(extra["gpu_mem_limit"])
    found = [(PROVIDERS["cuda"], cuda), cpu]
    if extra.get("provider") == "tensorrt" or options.precision == "fp16":
        tensorrt = {"trt_fp16_enable": str(options.precision == "fp16")}
        if "trt_engine_cache_path" in extra:
            tensorrt |= {
                "trt_engine_cache_enable": "True",
                "trt_engine_cache_path": str(extra["trt_engine_cache_path"]),
            }
        found.insert(0, (PROVIDERS["tensorrt"], tensorrt))
    if found[0][0] not in ort.get_available_providers():
        raise UsageError(
            f"this build of ONNX Runtime has no {found[0][0]}",
            "Install onnxruntime-gpu in place of onnxruntime (both bring the same module), or set engine.device=cpu.",
        )
    return found


def _errors(ort: Any) -> tuple[type[Exception], ...]:
    """Its exceptions: they have no base of their own."""
    state = ort.capi.onnxruntime_pybind11_state
    names = (
        *("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf"),
        *("NoModel", "NoSuchFile", "NotImplemented", "RuntimeException"),
    )
    return (*(getattr(state, name) for name in names if hasattr(state, name)), RuntimeError)
