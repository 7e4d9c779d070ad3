"""Paddle Inference on the CPU, by oneDNN: models in Paddle's own format (on GPUs: `paddle_gpu`).

Invariant: how a row is computed follows from its shape alone: rows go one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ocrbatch.engines.base import Engine, EngineOptions, Outputs, Weights, checked_batch, checked_outputs
from ocrbatch.engines.host import Floats, normalise, one_by_one, reduced, tables
from ocrbatch.errors import MissingExtraError, ModelError, UsageError
from ocrbatch.models.folders import paddle_program
from ocrbatch.records import Pixels

# Shapes for which oneDNN keeps its kernels; PaddleX keeps 10. More than the recognizer's 29 widths.
KERNEL_SHAPES: Final = 32


class PaddleEngine(Engine):
    """One model in Paddle Inference; see `Engine`. Takes no options."""

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        if options.extra:
            raise UsageError(
                f"the engine paddle has no option {min(options.extra)!r} on the CPU", "Empty engine.options."
            )
        self._head = weights.head
        self._tables = tables(weights)
        self._predictor = predictor(weights, lambda _, config, __: _use_cpu(config, options))
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, pixels: Pixels) -> Outputs:
        """Executes one batch; see `Engine.run`."""
        pixels = checked_batch(pixels)
        return checked_outputs(reduced(self._head, (self._infer(*call) for call in one_by_one(pixels))))

    def _infer(self, pixels: Pixels, rows: int) -> Floats:
        """Runs so many rows, those beyond the pixels' own being zeros, and gives the pixels' own."""
        floats = normalise(pixels, self._tables, rows)
        try:
            self._input.reshape(floats.shape)
            self._input.copy_from_cpu(floats)
            self._predictor.run()
            found: Floats = self._output.copy_to_cpu()
        except (ValueError, NotImplementedError, OSError) as error:
            raise RuntimeError(f"Paddle failed on {pixels.shape}: {summary(error)}") from error
        return found[: len(pixels)]


def predictor(weights: Weights, use: Callable[[Any, Any, Path], None]) -> Any:
    """A loaded model. use: settles where and how it runs, given paddle.inference, its Config and the program's path.

    Raises ModelError where Paddle refuses the files.
    """
    try:
        from paddle import inference
    except ImportError as error:
        raise MissingExtraError("paddlepaddle", "paddle", "The engine paddle") from error
    program = paddle_program(Path(weights.path))
    if program is None:
        raise ModelError(f"{weights.path} holds no Paddle model", "Give a folder with inference.json and .pdiparams.")
    config = inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    config.disable_glog_info()
    config.enable_memory_optim()
    use(inference, config, program)
    try:
        return inference.create_predictor(config)
    except (RuntimeError, ValueError, NotImplementedError, OSError) as error:
        raise ModelError(f"Paddle can't load {program}: {summary(error)}", "Check the model's files.") from error


def _use_cpu(config: Any, options: EngineOptions) -> None:
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_mkldnn_cache_capacity(KERNEL_SHAPES)
    config.set_cpu_math_library_num_threads(options.threads)
    config.enable_new_ir(True)
    config.enable_new_executor()
    config.set_optimization_level(3)


def summary(error: Exception) -> str:
    """Paddle's messages are pages of C++ frames; what went wrong is the line that names the kind of error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Error: " in line), lines[-1] if lines else type(error).__name__)
