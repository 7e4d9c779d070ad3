"""The graph for GPUs is the file's: bit for bit where the runtime optimises nothing, and nearly so where it does."""

from pathlib import Path

import numpy as np
import pytest

from ocrbatch.engines.host import best_classes, normalise, tables
from ocrbatch.models.registry import resolve
from ocrbatch.models.weights import Weights

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from ocrbatch.engines.onnx_graph import OUTPUTS, PIXELS, SIDES, graph  # noqa: E402

HALF = (0.5,) * 3


def session(model, *, optimised=False, shape=()):
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    if not optimised:
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, size in zip(SIDES, shape, strict=False):
        settings.add_free_dimension_override_by_name(name, size)
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def by_file(weights, pixels, optimised):
    """What the file's own graph gives, normalised before and reduced behind it on the host."""
    loaded = session(weights.path, optimised=optimised)
    (found,) = loaded.run(None, {loaded.get_inputs()[0].name: normalise(pixels, tables(weights), len(pixels))})
    return (found,) if weights.head == "map" else tuple(array[:, :, None] for array in best_classes(found))


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("PP-OCRv6_small_det", (2, 96, 128, 3)),
        ("PP-OCRv6_small_rec", (3, 48, 160, 3)),
        ("PP-OCRv6_tiny_rec", (3, 48, 160, 3)),
        ("PP-OCRv5_mobile_det", (2, 96, 128, 3)),
        ("PP-OCRv5_mobile_rec", (3, 48, 160, 3)),
    ],
)
def test_it_computes_what_the_file_does(model, shape):
    weights, pixels = resolve(model), noise(*shape)
    rewritten = graph(weights)
    plain = session(rewritten).run(None, {PIXELS: pixels})
    for found, expected in zip(plain, by_file(weights, pixels, optimised=False), strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    fixed = session(rewritten, optimised=True, shape=shape)
    assert fixed.get_inputs()[0].shape == list(shape)
    for found, expected in zip(
        fixed.run(None, {PIXELS: pixels}), by_file(weights, pixels, optimised=True), strict=True
    ):
        assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.models
def test_what_comes_out_is_small():
    """8 bytes a step, and not the 75 KB of its 18,710 classes."""
    loaded = session(graph(resolve("PP-OCRv6_small_rec")), shape=(4, 48, 320, 3))
    assert [output.name for output in loaded.get_outputs()] == list(OUTPUTS["ctc"])
    outputs = loaded.run(None, {PIXELS: noise(4, 48, 320, 3)})
    assert sum(array.nbytes for array in outputs) == 4 * 40 * 8


def written(folder: Path, nodes, *, head="ctc", inputs=("x",), opset=14) -> Weights:
    """A model of these nodes, from x (B, 3, H, W) to y."""
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "made",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3, None, None]) for name in inputs],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    path = folder / "made.onnx"
    onnx.save(made, path)
    return Weights("made", head, "onnx", str(path), "", HALF, HALF, 1 / 255)


# (B, 3, 1, W) to (B, 3, W): three steps, of which each column is a class.
STEPS = [
    helper.make_node("Constant", [], ["shape"], value=helper.make_tensor("shape", TensorProto.INT64, [3], [0, 3, -1])),
    helper.make_node("Reshape", ["x", "shape"], ["y"]),
]


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_the_first_of_equal_classes_is_taken_whatever_the_models_age(tmp_path, opset):
    pixels = np.array([[3, 9, 9, 1], [7, 7, 7, 7], [0, 1, 2, 2]], np.uint8).T[None, None]
    classes, probabilities = session(graph(written(tmp_path, STEPS, opset=opset))).run(None, {PIXELS: pixels})
    assert (classes.dtype, classes.ravel().tolist()) == (np.int32, [1, 0, 2])
    assert np.allclose(probabilities.ravel(), np.array([9, 7, 2]) / 127.5 - 1)


@pytest.mark.parametrize("inputs", [(), ("x", "z")])
def test_a_model_of_another_kind_is_refused(tmp_path, inputs):
    with pytest.raises(ValueError, match=f"{len(inputs)} inputs"):
        graph(written(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], inputs=inputs))


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x0a\xff"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        graph(Weights("other", "map", "onnx", str(path), "", HALF, HALF, 1 / 255))
