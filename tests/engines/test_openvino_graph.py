"""The head of a map model, rewritten: the same map, and other heads left alone."""

import numpy as np
import pytest

ov = pytest.importorskip("openvino")

from openvino import opset13 as op  # noqa: E402

from ocrbatch.engines.openvino_graph import fast_map  # noqa: E402

RANDOM = np.random.default_rng(0)


def constant(*shape):
    return op.constant(RANDOM.normal(size=shape).astype(np.float32))


def doubled(features, kernel, strides=(2, 2)):
    none = [0, 0]
    return op.convolution_backprop_data(features, kernel, list(strides), pads_begin=none, pads_end=none)


def head(inputs=5, inner=3, last=None, first_bias=None, between=op.relu):
    """A head of Differentiable Binarization with random weights, with what goes into it."""
    features = op.parameter([-1, inputs, -1, -1], np.float32)
    first = op.add(doubled(features, constant(inputs, inner, 2, 2)), first_bias or constant(1, inner, 1, 1))
    last = last or (lambda hidden: doubled(hidden, constant(inner, 1, 2, 2)))
    return features, op.sigmoid(op.add(last(between(first)), constant(1, 1, 1, 1))).output(0)


def computed(features, output, values, shape):
    model = ov.Model([output], [features], "head")
    model.reshape(list(shape))
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(values)[0]


def operations(features, output):
    return {node.get_type_name() for node in ov.Model([output], [features], "head").get_ops()}


@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (1, 5, 7, 4), (2, 5, 3, 8)])
def test_the_map_is_the_heads_own(shape):
    features, output = head()
    values = RANDOM.normal(size=shape).astype(np.float32)
    expected = computed(features, output, values, shape)
    fast = fast_map(output)
    assert "ConvolutionBackpropData" not in operations(features, fast)
    found = computed(features, fast, values, (-1, 5, -1, -1))
    assert found.shape == expected.shape == (shape[0], 1, 4 * shape[2], 4 * shape[3])
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    "other",
    [
        head(between=lambda hidden: op.relu(op.multiply(hidden, constant(1, 3, 1, 1)))),
        head(between=op.sigmoid),
        head(first_bias=constant(1, 1, 1, 1)),
        head(last=lambda hidden: doubled(hidden, constant(3, 1, 3, 3))),
        head(last=lambda hidden: doubled(hidden, constant(3, 1, 2, 2), strides=(1, 1))),
        head(last=lambda hidden: doubled(hidden, constant(3, 2, 2, 2))),
    ],
    ids=["scaled", "another function", "one bias", "3 x 3 px", "stride 1", "two maps"],
)
def test_heads_of_another_build_stay(other):
    _, output = other
    assert fast_map(output) is output


def test_an_output_that_ends_early_is_left_alone():
    features = op.parameter([1, 1, 4, 4], np.float32)
    for output in (op.sigmoid(features), op.multiply(op.constant(np.float32(2)), op.sigmoid(features))):
        assert fast_map(output.output(0)).get_node() is output
