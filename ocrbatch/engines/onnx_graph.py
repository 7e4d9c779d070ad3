"""What ONNX Runtime is given on a GPU in place of the graph in a file: bytes go in, a ctc head gives its best classes.

Invariant: the file's own nodes stay as they are. Those before them give each byte the float that `host` gives it, those
behind them take the first of the largest classes, as `host` does. So pixels and a few numbers a line cross PCIe.
"""

from __future__ import annotations

from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from ocrbatch.engines.host import arithmetic
from ocrbatch.models.weights import Weights

PIXELS: Final = "ocrbatch_pixels"
"""The input: uint8 (rows, height, width, 3), with free dimensions of these names."""
SIDES: Final = ("rows", "height", "width")
OUTPUTS: Final = {"map": ("ocrbatch_map",), "ctc": ("ocrbatch_classes", "ocrbatch_probabilities")}
"""Of a map, float32 (rows, 1, height, width); of a ctc head, int32 and float32 (rows, steps, 1)."""


def graph(weights: Weights) -> bytes:
    """The model, serialized. Raises ValueError where the file holds none, OSError where it can't be read."""
    try:
        model = onnx.load(weights.path)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    inside = model.graph
    constants = {constant.name for constant in inside.initializer}
    inputs = [value.name for value in inside.input if value.name not in constants]
    if len(inputs) != 1 or len(inside.output) != 1:
        raise ValueError(f"it has {len(inputs)} inputs and {len(inside.output)} outputs, and not one of each")
    nodes = [*_normalised(inside, weights, inputs[0]), *inside.node, *_reduced(inside, weights, inside.output[0].name)]
    # value_info tells of shapes by the names of sides that are no more.
    del inside.node[:], inside.input[:], inside.output[:], inside.value_info[:]
    inside.node.extend(nodes)
    inside.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [*SIDES, 3]))
    for name in OUTPUTS[weights.head]:
        kind = TensorProto.INT32 if name.endswith("classes") else TensorProto.FLOAT
        inside.output.append(helper.make_tensor_value_info(name, kind, None))
    return bytes(model.SerializeToString())


def _normalised(inside: Any, weights: Weights, name: str) -> list[Any]:
    """From PIXELS to the file's own input, of this name. Cast first: TensorRT takes bytes into a cast only."""
    found = [
        helper.make_node("Cast", [PIXELS], ["ocrbatch_floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["ocrbatch_floats"], ["ocrbatch_planes"], perm=[0, 3, 1, 2]),
    ]
    for place, (step, operand) in enumerate(arithmetic(weights)):
        constant = f"ocrbatch_operand_{place}"
        inside.initializer.append(numpy_helper.from_array(operand.reshape(3, 1, 1), constant))
        found.append(helper.make_node(step, [*found[-1].output, constant], [f"ocrbatch_step_{place}"]))
    found[-1].output[:] = [name]
    return found


def _reduced(inside: Any, weights: Weights, name: str) -> list[Any]:
    """From the file's own output, of this name, to OUTPUTS.

    TopK, since its ties go to the first class by its definition; on GPUs ArgMax is cuDNN's, which promises nothing.
    """
    if weights.head == "map":
        return [helper.make_node("Identity", [name], list(OUTPUTS["map"]))]
    classes, probabilities = OUTPUTS["ctc"]
    inside.initializer.append(helper.make_tensor("ocrbatch_one", TensorProto.INT64, [1], [1]))
    return [
        helper.make_node("TopK", [name, "ocrbatch_one"], [probabilities, "ocrbatch_places"], axis=2),
        helper.make_node("Cast", ["ocrbatch_places"], [classes], to=TensorProto.INT32),
    ]
