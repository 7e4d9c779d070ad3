"""ONNX Runtime: CPU, and CUDA or TensorRT where they are there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ocrbatch.engines.base import EngineOptions, Weights
from ocrbatch.engines.normalisation import normalise, tables
from ocrbatch.errors import MissingExtraError
from ocrbatch.records import Pixels


class OnnxRuntimeEngine:
    """One model in ONNX Runtime; see `Engine`."""

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime", "The engine onnxruntime") from error
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(weights.path, settings, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._head = weights.head
        self._tables = tables(weights)

    def run(self, pixels: Pixels) -> tuple[NDArray[np.generic], ...]:
        """Executes one batch; see `Engine.run`."""
        count = len(pixels)
        (found,) = self._session.run(None, {self._input: normalise(pixels, self._tables, max(2, count))})
        found = found[:count]
        if self._head == "map":
            return (found[:, 0],)
        return found.argmax(axis=2).astype(np.int32), found.max(axis=2)
