"""What OpenVINO's CPU plugin is given in place of the graph in a file: bytes go in, a ctc head stands apart and gives
its best classes, and a map's head is in a form that the plugin computes fast.

Invariant: the same function as the file's, apart from rounding.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from openvino import Layout, Model, Type
from openvino import opset13 as op
from openvino.preprocess import PrePostProcessor

from ocrbatch.models.weights import Weights

Floats = NDArray[np.float32]
# From the output up: the head of Differentiable Binarization, which doubles the map's sides twice.
MAP_HEAD: Final = ("Sigmoid", "Add", "ConvolutionBackpropData", "Relu", "Add", "ConvolutionBackpropData")
# From the output up: the head of a ctc model, beside nodes that do nothing.
CTC_HEAD: Final = ("Softmax", "Add", "MatMul")
DOUBLING: Final = {
    "strides": [2, 2],
    "dilations": [1, 1],
    "pads_begin": [0, 0],
    "pads_end": [0, 0],
    "auto_pad": "explicit",
    "output_padding": [0, 0],
}


class MapHead(NamedTuple):
    """The end of a map model. features: what goes into it; first (C, c, 2, 2), last (c, 1, 2, 2): its weights."""

    features: Any
    first: Floats
    first_bias: Floats
    last: Floats
    last_bias: Floats


class CtcHead(NamedTuple):
    """The end of a ctc model. features: (B, T, C), what goes into it; matrix (C, classes), bias (1, classes)."""

    features: Any
    matrix: Floats
    bias: Floats


def graph(model: Any, weights: Weights) -> tuple[Any, CtcHead | None]:
    """A model as read from its file, with uint8 (B, H, W, 3) in, and its head where that stands apart.

    Out comes a map, float32 (B, 1, H, W); of a ctc model what its head takes, float32 (B, T, C), or, where its head is
    of an unknown build, the best classes and their probabilities, int32 and float32 (B, T).
    """
    output = model.output(0).get_node().input_value(0)
    head = ctc_head(output) if weights.head == "ctc" else None
    results = [fast_map(output)] if weights.head == "map" else [head.features] if head else best_classes(output)
    steps = PrePostProcessor(Model(results, model.get_parameters(), weights.name))
    steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW"))
    floats = steps.input().preprocess().convert_element_type(Type.f32)
    floats.mean([m / weights.scale for m in weights.mean]).scale([s / weights.scale for s in weights.std])
    return steps.build(), head


def best_classes(output: Any, axis: int = 2) -> list[Any]:
    """Of probabilities (B, T, classes), or with the axis 1 (N, classes): the best class of each step, and its own."""
    classes, one = op.constant(axis, dtype=np.int32), op.constant(1, dtype=np.int32)
    best = op.topk(output, one, axis, "max", "none", index_element_type="i32")
    return [op.squeeze(best.output(place), classes).output(0) for place in (1, 0)]


def ctc_head(output: Any) -> CtcHead | None:
    """The head that these probabilities (B, T, classes) come from: a matrix, a bias and a softmax; None for others."""
    nodes: list[Any] = []
    for kind in CTC_HEAD:
        node = (nodes[-1].input_value(0) if nodes else output).get_node()
        while node.get_type_name() == "Identity":
            node = node.input_value(0).get_node()
        if node.get_type_name() != kind:
            return None
        nodes.append(node)
    _, total, product = nodes
    operands = [node.input_value(1).get_node() for node in (product, total)]
    if any(node.get_type_name() != "Constant" for node in operands) or any(product.get_attributes().values()):
        return None
    matrix, bias = (np.asarray(node.get_data(), np.float32) for node in operands)
    is_known = matrix.ndim == 2 and bias.size == matrix.shape[1] and len(product.get_output_partial_shape(0)) == 3
    return CtcHead(product.input_value(0), matrix, bias.reshape(1, -1)) if is_known else None


def head_graph(head: CtcHead, steps: int) -> Any:
    """A head by itself: features, float32 (steps, C), to best classes and probabilities, int32 and float32 (steps,)."""
    features = op.parameter([steps, head.matrix.shape[0]], Type.f32)
    logits = op.add(op.matmul(features, op.constant(head.matrix), False, False), op.constant(head.bias))
    return Model(best_classes(op.softmax(logits, 1), axis=1), [features], "head")


def fast_map(output: Any) -> Any:
    """A map (B, 1, H, W) whose head's two transposed convolutions are 1 x 1 convolutions instead.

    With 2 x 2 px and stride 2 they give each pixel four of its own and mix no neighbours. So all stays at a quarter of
    the map's sides, its 4 x 4 pixels as channels, until a last step sets them out. With dynamic shapes the plugin
    computes transposed convolutions in fp32 whatever the precision, and the ReLU and the sigmoid in passes of their
    own: a page of 1,120 x 800 px takes 87 ms of one thread in place of 102.
    Heads of another build, such as PP-OCRv5's, stay as they are.
    """
    head = map_head(output)
    if head is None:
        return output
    count = head.first.shape[1]
    # Channel (i, j, c) is channel c at row i, column j of the first four; (i, k, j, l) is row k, column l within.
    inner = head.first.transpose(2, 3, 1, 0).reshape(4 * count, -1)
    outer = np.zeros((2, 2, 2, 2, 2, 2, count), np.float32)
    for i, j in np.ndindex(2, 2):
        outer[i, :, j, :, i, j] = head.last[:, 0].transpose(1, 2, 0)
    hidden = op.relu(_pointwise(head.features, inner, np.tile(head.first_bias.ravel(), 4)))
    pixels = op.sigmoid(_pointwise(hidden, outer.reshape(16, 4 * count), head.last_bias.ravel()))
    nearby = op.transpose(pixels, op.constant([0, 2, 3, 1]))
    sides = op.gather(op.shape_of(nearby), op.constant([0, 1, 2]), op.constant(0))
    rows = op.transpose(op.reshape(nearby, op.constant([0, 0, 0, 4, 4]), True), op.constant([0, 1, 3, 2, 4]))
    whole = op.reshape(rows, op.multiply(sides, op.constant([1, 4, 4])), False)
    return op.unsqueeze(whole, op.constant(1))


def map_head(output: Any) -> MapHead | None:
    """The head that this is the output of; None where it is of another build."""
    nodes: list[Any] = []
    for kind in MAP_HEAD:
        node = (nodes[-1].input_value(0) if nodes else output).get_node()
        if node.get_type_name() != kind:  # looked at before its inputs, of which it may have none
            return None
        nodes.append(node)
    _, last_sum, last, _, first_sum, first = nodes
    operands = [node.input_value(1).get_node() for node in (first, first_sum, last, last_sum)]
    if any(node.get_type_name() != "Constant" for node in operands):
        return None
    weights = [np.asarray(node.get_data(), np.float32) for node in operands]
    count = weights[0].shape[1]
    is_known = (
        all(node.get_input_size() == 2 and node.get_attributes() == DOUBLING for node in (first, last))
        and weights[0].shape[2:] == (2, 2)
        and weights[2].shape == (count, 1, 2, 2)
        and (weights[1].size, weights[3].size) == (count, 1)
    )
    return MapHead(first.input_value(0), *weights) if is_known else None


def _pointwise(features: Any, matrix: Floats, bias: Floats) -> Any:
    """A convolution of 1 x 1 px by (out, in), with its bias."""
    kernel = op.constant(np.ascontiguousarray(matrix[:, :, None, None]))
    found = op.convolution(features, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return op.add(found, op.constant(np.ascontiguousarray(bias.reshape(1, -1, 1, 1))))
