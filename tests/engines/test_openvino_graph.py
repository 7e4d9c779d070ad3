"""The heads of models: rewritten, or apart, they compute the same; those of another build are left alone."""

import numpy as np
import pytest

ov = pytest.importorskip("openvino")

from openvino import opset13 as op  # noqa: E402

from ocrbatch.engines.openvino_graph import ctc_head, fast_map, head_graph  # noqa: E402

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


def classifier(bias=(9,), after=lambda logits: logits):
    """A ctc head with random weights, with what goes into it."""
    features = op.parameter([-1, -1, 6], np.float32)
    logits = op.add(op.matmul(features, constant(6, 9), False, False), constant(*bias))
    return features, op.softmax(after(logits), 2).output(0)


def test_a_ctc_head_apart_gives_the_best_classes_of_the_whole():
    features, output = classifier()
    values = RANDOM.normal(size=(2, 5, 6)).astype(np.float32)
    whole = computed(features, output, values, (2, 5, 6)).reshape(10, 9)
    head = ctc_head(output)
    assert head.features.get_node().get_friendly_name() == features.get_friendly_name()
    apart = ov.Core().compile_model(head_graph(head, 10), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    classes, probabilities = apart(values.reshape(10, 6)).values()
    assert classes.tolist() == whole.argmax(axis=1).tolist()
    assert np.abs(probabilities - whole.max(axis=1)).max() < 1e-6


@pytest.mark.parametrize(
    "other",
    [
        classifier(bias=(1,)),
        classifier(after=op.relu),
        (None, op.softmax(op.parameter([-1, -1, 6], np.float32), 2).output(0)),
        (None, op.relu(op.parameter([-1, -1, 6], np.float32)).output(0)),
    ],
    ids=["one bias", "scaled", "nothing before", "no softmax"],
)
def test_ctc_heads_of_another_build_stay(other):
    _, output = other
    assert ctc_head(output) is None
