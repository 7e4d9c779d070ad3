"""OpenVINO: the engine for CPUs.

Normalisation and the reduction of a ctc head are in the graph. Invariant: a batch goes through in steps of fixed shape, so
batch size and neighbours can't reach the bits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ocrbatch.engines.base import EngineOptions, Weights
from ocrbatch.errors import MissingExtraError, ModelError
from ocrbatch.records import Pixels

HINTS: Final = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """One model in OpenVINO's CPU plugin; see `Engine`."""

    def __init__(self, weights: Weights, options: EngineOptions) -> None:
        try:
            import openvino as ov
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino", "The engine openvino") from error
        self._ov = ov
        self._core = ov.Core()
        self._head = weights.head
        self._limit = int(options.extra.get("compiled_shapes", 48))
        self._properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[options.precision],
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._model = _graph(ov, self._core.read_model(weights.path), weights)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO can't load {weights.path}: {error}", "Check the file.") from error
        self._requests: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def run(self, pixels: Pixels) -> tuple[NDArray[np.generic], ...]:
        """Executes one batch; see `Engine.run`."""
        request = self._request(pixels.shape[1], pixels.shape[2])
        rows = []
        for row in pixels:
            request.infer([row[None]], share_inputs=True)
            rows.append([np.array(t.data) for t in request.output_tensors])
        if self._head == "map":
            return (np.concatenate([r[0][:, 0] for r in rows]),)
        return np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])

    def _request(self, height: int, width: int) -> Any:
        key = (height, width)
        if key in self._requests:
            self._requests.move_to_end(key)
            return self._requests[key]
        while len(self._requests) >= self._limit:
            self._requests.popitem(last=False)
        model = self._model.clone()
        model.reshape([1, height, width, 3])
        request = self._core.compile_model(model, "CPU", self._properties).create_infer_request()
        self._requests[key] = request
        return request


def _graph(ov: Any, model: Any, weights: Weights) -> Any:
    from openvino import opset13 as op
    from openvino.preprocess import PrePostProcessor

    if weights.head == "ctc":
        axis = op.constant(2, dtype=np.int32)
        best = op.topk(
            model.output(0).get_node().input_value(0),
            op.constant(1, dtype=np.int32),
            2,
            "max",
            "none",
            index_element_type="i32",
        )
        model = ov.Model(
            [op.result(op.squeeze(best.output(1), axis)), op.result(op.squeeze(best.output(0), axis))],
            model.get_parameters(),
            weights.name,
        )
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    unit = steps.input().preprocess().convert_element_type(ov.Type.f32)
    unit.mean([m / weights.scale for m in weights.mean]).scale([s / weights.scale for s in weights.std])
    return steps.build()
