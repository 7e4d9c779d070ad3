"""Paddle Inference: models in Paddle's own format, on the CPU by oneDNN, on GPUs by CUDA or TensorRT.

Invariant: how a row is computed follows from its shape alone: rows go one by one on the CPU, and in batches of a fixed
size for each width on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ocrbatch.engines.base import Engine, EngineOptions, Head, Outputs, Weights, checked_batch, checked_outputs, rows_of
from ocrbatch.engines.host import Floats, filled, normalise, one_by_one, reduced, tables
from ocrbatch.errors import MissingExtraError, ModelError, UsageError
from ocrbatch.models.folders import paddle_program
from ocrbatch.models.weights import LINE_HEIGHT
from ocrbatch.records import Pixels

# Shapes for which oneDNN keeps its kernels; PaddleX keeps 10. The recognizer's 24 widths, and as many page shapes.
KERNEL_SHAPES: Final = 24
OPTIONS: Final = {"tensorrt", "gpu_memory_mb"}


class PaddleEngine(Engine):
    """One model in Paddle Inference; see `Engine`.

    options.extra, both for GPUs: `tensorrt` (true: for programs in .pdmodel format), `gpu_memory_mb`, first size of the
    memory pool.
    """

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        try:
            from paddle import inference
        except ImportError as error:
            raise MissingExtraError("paddlepaddle", "paddle", "The engine paddle") from error
        self._head = weights.head
        self._tables = tables(weights)
        self._on_gpu = options.device == "gpu"
        self._batch_pixels = options.batch_pixels
        program = paddle_program(Path(weights.path))
        if program is None:
            raise ModelError(
                f"{weights.path} holds no Paddle model", "Give a folder with inference.json and .pdiparams."
            )
        config = inference.Config(str(program), str(program.with_suffix(".pdiparams")))
        config.disable_glog_info()
        config.enable_memory_optim()
        if self._on_gpu:
            _use_gpu(inference, config, weights, options, program)
        else:
            _use_cpu(config, options)
        try:
            self._predictor = inference.create_predictor(config)
        except (RuntimeError, ValueError, NotImplementedError, OSError) as error:
            raise ModelError(f"Paddle can't load {program}: {_summary(error)}", "Check the model's files.") from error
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        pixels = checked_batch(pixels)
        fixed = self._head == "ctc" and self._on_gpu
        calls = filled(pixels, rows_of(pixels.shape[2], self._batch_pixels)) if fixed else one_by_one(pixels)
        return checked_outputs(reduced(self._head, (self._infer(*call) for call in calls)))

    def _infer(self, pixels: Pixels, rows: int) -> Floats:
        """Runs so many rows, those beyond the pixels' own being zeros, and gives the pixels' own."""
        floats = normalise(pixels, self._tables, rows)
        try:
            self._input.reshape(floats.shape)
            self._input.copy_from_cpu(floats)
            self._predictor.run()
            found: Floats = self._output.copy_to_cpu()
        except (ValueError, NotImplementedError, OSError) as error:
            raise RuntimeError(f"Paddle failed on {pixels.shape}: {_summary(error)}") from error
        return found[: len(pixels)]


def _use_cpu(config: Any, options: EngineOptions) -> None:
    if options.extra:
        raise UsageError(f"the engine paddle has no option {min(options.extra)!r} on the CPU", "Empty engine.options.")
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_mkldnn_cache_capacity(KERNEL_SHAPES)
    config.set_cpu_math_library_num_threads(options.threads)
    config.enable_new_ir(True)
    config.enable_new_executor()
    config.set_optimization_level(3)


def _use_gpu(inference: Any, config: Any, weights: Weights, options: EngineOptions, program: Path) -> None:
    if unknown := set(options.extra) - OPTIONS:
        raise UsageError(f"the engine paddle has no option {min(unknown)!r}", f"It takes {', '.join(sorted(OPTIONS))}.")
    precision = {"fp32": inference.PrecisionType.Float32, "fp16": inference.PrecisionType.Half}[options.precision]
    config.disable_mkldnn()
    config.enable_use_gpu(int(options.extra.get("gpu_memory_mb", 100)), 0, precision)
    if not options.extra.get("tensorrt"):
        config.enable_new_ir(True)
        config.enable_new_executor()
        config.set_optimization_level(3)
        return
    if program.suffix != ".pdmodel":
        raise UsageError(
            f"{program} is in Paddle's new format, which needs a conversion of its own for TensorRT",
            "Leave tensorrt out, or use the ONNX model with engine.name=onnxruntime and provider=tensorrt.",
        )
    smallest, usual, largest = ({"x": shape} for shape in _tensorrt_shapes(weights.head, options.batch_pixels))
    config.enable_tensorrt_engine(1 << 30, 1, 3, precision, False, False)
    config.set_trt_dynamic_shape_info(smallest, largest, usual)


def _tensorrt_shapes(head: Head, batch_pixels: int) -> tuple[list[int], list[int], list[int]]:
    """Smallest, usual and largest input: the official models' own ranges, from the Hpi section of inference.yml."""
    if head == "map":
        return [1, 3, 32, 32], [1, 3, 736, 736], [1, 3, 4000, 4000]
    usual, most = rows_of(320, batch_pixels), rows_of(32, batch_pixels)
    return [1, 3, LINE_HEIGHT, 32], [usual, 3, LINE_HEIGHT, 320], [most, 3, LINE_HEIGHT, 3200]


def _summary(error: Exception) -> str:
    """Paddle's messages are pages of C++ frames; what went wrong is the line that names the kind of error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Error: " in line), lines[-1] if lines else type(error).__name__)
