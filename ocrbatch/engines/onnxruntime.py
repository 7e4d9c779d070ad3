"""ONNX Runtime on the CPU: the exact arithmetic of PaddleX in fp32 (on GPUs: `onnxruntime_gpu`).

Invariant: how a row is computed follows from its shape alone. Its matrix kernels differ between one row and
several (probabilities by up to 5e-6, measured), but not between 2 and 20, nor by threads or neighbours: so rows of one
width either all go one by one, or never alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ocrbatch.engines.base import Engine, EngineOptions, Outputs, Weights, checked_batch, checked_outputs
from ocrbatch.engines.host import Calls, Floats, normalise, one_by_one, reduced, tables
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


class OnnxRuntimeEngine(Engine):
    """One model in ONNX Runtime; see `Engine`. Takes no options."""

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime", "The engine onnxruntime") from error
        if options.extra:
            raise UsageError(
                f"the engine onnxruntime has no option {min(options.extra)!r} on the CPU", "Empty engine.options."
            )
        self._errors = errors_of(ort)
        self._head = weights.head
        self._tables = tables(weights)
        settings = settings_for(ort, options)
        # A plan for each shape: over 80 page sizes a detector grew by 245 MiB with them, by 117 without, as fast.
        settings.enable_mem_pattern = weights.head == "ctc"
        try:
            self._session = ort.InferenceSession(weights.path, settings, providers=[PROVIDERS["cpu"]])
        except self._errors as error:
            raise ModelError(
                f"ONNX Runtime can't load {weights.path}: {error}", "Check that it is an ONNX model."
            ) from error
        self._input = self._session.get_inputs()[0].name

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        pixels = checked_batch(pixels)
        return checked_outputs(reduced(self._head, (self._infer(*call) for call in self._calls(pixels))))

    def rows_computed(self, shape: tuple[int, ...]) -> int:
        """See `Engine.rows_computed`."""
        is_narrow = self._head == "ctc" and shape[2] <= CPU_ROWS_WIDTH
        return max(2, shape[0]) if is_narrow else shape[0]

    def _calls(self, pixels: Pixels) -> Calls:
        count, _, width, _ = pixels.shape
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


def settings_for(ort: Any, options: EngineOptions) -> Any:
    """Settings of a session that every device wants."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.log_severity_level = 3
    settings.use_deterministic_compute = True
    # idle workers shall leave the cores alone
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def errors_of(ort: Any) -> tuple[type[Exception], ...]:
    """Its exceptions: they have no base of their own."""
    state = ort.capi.onnxruntime_pybind11_state
    names = (
        *("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf"),
        *("NoModel", "NoSuchFile", "NotImplemented", "RuntimeException"),
    )
    return (*(getattr(state, name) for name in names if hasattr(state, name)), RuntimeError)
