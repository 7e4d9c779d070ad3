"""Paddle Inference on GPUs, by CUDA or TensorRT: bytes are normalised, and a ctc head reduced, where the model runs.

Invariant: how a row is computed follows from its shape alone: each call of a shape has the same number of rows, zeros
where there are fewer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ocrbatch.engines.base import Engine, EngineOptions, Head, Outputs, Weights, checked_batch, checked_outputs, rows_of
from ocrbatch.engines.host import arithmetic
from ocrbatch.engines.paddle import predictor, summary
from ocrbatch.errors import UsageError
from ocrbatch.models.weights import LINE_HEIGHT
from ocrbatch.records import Pixels

OPTIONS: Final = {"tensorrt", "gpu_memory_mb"}
MEMORY_MB: Final = 100
# What the steps of `host.arithmetic` are called here.
STEPS: Final = {"Mul": "multiply", "Add": "add", "Sub": "subtract", "Div": "divide"}


class PaddleGpuEngine(Engine):
    """One model in Paddle Inference; see `Engine`. On the device cpu it does all of this there.

    options.extra: `tensorrt` (true: for programs in .pdmodel format), `gpu_memory_mb`, first size of the memory pool.
    """

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        if unknown := set(options.extra) - OPTIONS:
            raise UsageError(
                f"the engine paddle has no option {min(unknown)!r}", f"It takes {', '.join(sorted(OPTIONS))}."
            )
        self._weights, self._options = weights, options
        self._predictor = predictor(weights, self._use)
        import paddle

        self._paddle = paddle
        self._place = paddle.CUDAPlace(0) if options.device == "gpu" else paddle.CPUPlace()
        self._steps = [
            (getattr(paddle, STEPS[name]), paddle.to_tensor(operand.reshape(1, 3, 1, 1), place=self._place))
            for name, operand in arithmetic(weights)
        ]

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        pixels = checked_batch(pixels)
        rows = self._rows(*pixels.shape[1:3])
        found = [self._infer(pixels[k : k + rows], rows) for k in range(0, len(pixels), rows)]
        return checked_outputs(tuple(np.concatenate(calls) for calls in zip(*found, strict=True)))

    def rows_computed(self, shape: tuple[int, ...]) -> int:
        """See `Engine.rows_computed`."""
        rows = self._rows(*shape[1:3])
        return -(-shape[0] // rows) * rows

    def _rows(self, height: int, width: int) -> int:
        if self._weights.head == "ctc":
            return rows_of(width, self._options.batch_pixels)
        return 1 if self._options.extra.get("tensorrt") else rows_of(height * width, self._options.batch_pixels)

    def _infer(self, pixels: Pixels, rows: int) -> Outputs:
        """Runs so many rows, those beyond the pixels' own being zeros, and gives the pixels' own."""
        count = len(pixels)
        given = np.zeros((rows, *pixels.shape[1:]), np.uint8)
        given[:count] = pixels
        paddle = self._paddle
        try:
            floats = paddle.to_tensor(given, place=self._place).astype("float32").transpose([0, 3, 1, 2])
            for step, operand in self._steps:
                floats = step(floats, operand)
            (found,) = self._predictor.run([floats])
            if self._weights.head == "map":
                return (found[:count, 0].numpy(),)
            classes, probabilities = paddle.argmax(found, axis=2, dtype="int32"), paddle.amax(found, axis=2)
            return classes[:count].numpy(), probabilities[:count].numpy()
        except (ValueError, NotImplementedError, OSError) as error:
            raise RuntimeError(f"Paddle failed on {pixels.shape}: {summary(error)}") from error

    def _use(self, inference: Any, config: Any, program: Path) -> None:
        options = self._options
        if options.device == "gpu":
            kinds = {"fp32": inference.PrecisionType.Float32, "fp16": inference.PrecisionType.Half}
            precision = kinds[options.precision]
            config.disable_mkldnn()
            config.enable_use_gpu(int(options.extra.get("gpu_memory_mb", MEMORY_MB)), 0, precision)
            if options.extra.get("tensorrt"):
                _use_tensorrt(config, precision, program, self._weights.head, options.batch_pixels)
                return
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(options.threads)
        config.enable_new_ir(True)
        config.enable_new_executor()
        config.set_optimization_level(3)


def _use_tensorrt(config: Any, precision: Any, program: Path, head: Head, batch_pixels: int) -> None:
    if program.suffix != ".pdmodel":
        raise UsageError(
            f"{program} is in Paddle's new format, which needs a conversion of its own for TensorRT",
            "Leave tensorrt out, or use the ONNX model with engine.name=onnxruntime and provider=tensorrt.",
        )
    smallest, usual, largest = ({"x": shape} for shape in _tensorrt_shapes(head, batch_pixels))
    config.enable_tensorrt_engine(1 << 30, 1, 3, precision, False, False)
    config.set_trt_dynamic_shape_info(smallest, largest, usual)


def _tensorrt_shapes(head: Head, batch_pixels: int) -> tuple[list[int], list[int], list[int]]:
    """Smallest, usual and largest input: the official models' own ranges, from the Hpi section of inference.yml."""
    if head == "map":
        return [1, 3, 32, 32], [1, 3, 736, 736], [1, 3, 4000, 4000]
    usual, most = rows_of(320, batch_pixels), rows_of(32, batch_pixels)
    return [1, 3, LINE_HEIGHT, 32], [usual, 3, LINE_HEIGHT, 320], [most, 3, LINE_HEIGHT, 3200]
