"""ONNX Runtime's engine for GPUs, by the same code on the CPU: fixed rows, a session a shape, two calls in flight."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ocrbatch.engines import onnxruntime_gpu
from ocrbatch.engines.base import EngineOptions, Outputs
from ocrbatch.engines.onnxruntime_gpu import LANES, OnnxRuntimeGpuEngine, providers
from ocrbatch.errors import UsageError
from ocrbatch.models.registry import resolve
from ocrbatch.models.weights import Weights
from ocrbatch.records import Pixels

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.models


def engine(model: str = "PP-OCRv6_tiny_rec", batch_pixels: int = 400, **extra: Any) -> OnnxRuntimeGpuEngine:
    return OnnxRuntimeGpuEngine(resolve(model), EngineOptions(batch_pixels=batch_pixels, extra=extra))


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), np.uint8)


def same(found: Outputs, expected: Outputs) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], int]]:
    """The shape of each session that ran, and the rows of the pixels in that call."""
    made: list[tuple[tuple[int, ...], int]] = []
    infer = onnxruntime_gpu._Place.infer

    def infer_and_tell(place: Any, pixels: Pixels) -> Any:
        made.append((tuple(place._session.get_inputs()[0].shape), len(pixels)))
        return infer(place, pixels)

    monkeypatch.setattr(onnxruntime_gpu._Place, "infer", infer_and_tell)
    return made


def test_every_call_of_a_size_has_the_rows_that_the_config_says(calls: list[Any]) -> None:
    engine().run(noise(8, 48, 128))
    assert sorted(calls) == [((3, 48, 128, 3), rows) for rows in (2, 3, 3)]
    calls.clear()
    engine("PP-OCRv6_tiny_det", batch_pixels=2 * 64 * 96).run(noise(3, 64, 96))
    assert sorted(calls) == [((2, 64, 96, 3), 1), ((2, 64, 96, 3), 2)]
    calls.clear()
    engine("PP-OCRv6_tiny_det", batch_pixels=64).run(noise(1, 64, 96))
    assert calls == [((1, 64, 96, 3), 1)]


def test_rows_that_fill_a_call_up_leave_the_others_alone() -> None:
    model, rows = engine(), noise(3, 48, 128)
    full = model.run(rows)
    model.run(255 - rows)  # what is left of it in the memory of the calls counts as little
    assert same(model.run(rows[:1]), tuple(array[:1] for array in full))


def test_sessions_are_bounded_and_what_comes_back_has_its_bits() -> None:
    model = engine(sessions=2)
    widths = (64, 96, 128, 160)
    expected = [model.run(noise(2, 48, width)) for width in widths]
    assert [shape[2] for shape in model._places] == [128, 160]
    found = list(model.run_many(noise(2, 48, width) for width in widths * 2))
    assert all(same(*pair) for pair in zip(found, expected * 2, strict=True))
    assert len(model._places) == 2


@pytest.mark.parametrize("sizes", [(96, 96), (64, 128)], ids=["alike", "apart"])
def test_two_calls_are_in_flight(monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]) -> None:
    model = engine()
    batches = [noise(1, 48, width) for width in sizes]
    expected = [model.run(rows) for rows in batches]
    met = threading.Barrier(LANES)
    infer = onnxruntime_gpu._Place.infer

    def infer_together(place: Any, pixels: Pixels) -> Any:
        met.wait(timeout=30)
        return infer(place, pixels)

    monkeypatch.setattr(onnxruntime_gpu._Place, "infer", infer_together)
    found = list(model.run_many(batches))
    assert all(same(*pair) for pair in zip(found, expected, strict=True))


def test_nan_is_an_error(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Constant", [], ["shape"], value=onnx.numpy_helper.from_array(np.array([0, 3, -1]))),
        onnx.helper.make_node("Reshape", ["x", "shape"], ["steps"]),
        onnx.helper.make_node("Log", ["steps"], ["logs"]),  # of pixels that become negative
        onnx.helper.make_node("Softmax", ["logs"], ["y"], axis=2),
    ]
    float_, sides = onnx.TensorProto.FLOAT, [None, 3, None, None]
    made = onnx.helper.make_graph(
        nodes,
        "made",
        [onnx.helper.make_tensor_value_info("x", float_, sides)],
        [onnx.helper.make_tensor_value_info("y", float_, None)],
    )
    path = tmp_path / "made.onnx"
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8), path)
    half = (0.5,) * 3
    model = OnnxRuntimeGpuEngine(Weights("made", "ctc", "onnx", str(path), "", half, half, 1 / 255), EngineOptions())
    assert model.run(np.full((1, 48, 64, 3), 255, np.uint8))
    with pytest.raises(RuntimeError, match="NaN"):
        model.run(np.zeros((1, 48, 64, 3), np.uint8))


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(UsageError, match="providers"):
        engine(providers="cuda")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this build has CUDA")
@pytest.mark.parametrize(("precision", "provider"), [("fp32", "CUDA"), ("fp16", "Tensorrt")])
def test_a_build_without_the_provider_says_which_one_to_install(precision: str, provider: str) -> None:
    with pytest.raises(UsageError, match=provider) as caught:
        OnnxRuntimeGpuEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(device="gpu", precision=precision))
    assert "onnxruntime-gpu" in caught.value.remedy


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this build has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_not_made_up_for_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_gpu, "_check_options", lambda *_: None)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    with pytest.raises(UsageError, match="could not start its CUDAExecutionProvider and fell back to CPU"):
        OnnxRuntimeGpuEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(device="gpu"))


WEIGHTS = Weights("some_rec", "ctc", "onnx", "/nowhere", "0" * 64, (0.5,) * 3, (0.5,) * 3, 1 / 255)
LINES = (8, 48, 320, 3)


def of(shape: tuple[int, int, int, int] | None = LINES, precision: str = "fp32", **extra: Any) -> list[Any]:
    return providers(WEIGHTS, EngineOptions("gpu", precision, extra=extra), "pixels", shape)


def test_cuda_is_asked_for_the_same_kernels_every_time() -> None:
    (cuda, options), (cpu, _) = of()
    assert (cuda, cpu) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["use_tf32"] == "0"
    assert "gpu_mem_limit" not in options
    assert of(tf32=True, gpu_mem_limit=5 << 30)[0][1] == options | {"use_tf32": "1", "gpu_mem_limit": str(5 << 30)}


@pytest.mark.parametrize("asked", [{"provider": "tensorrt"}, {"precision": "fp16"}])
def test_tensorrt_goes_before_cuda(asked: dict[str, Any]) -> None:
    found = of(**asked)
    assert [name for name, _ in found][:2] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert found[0][1] == {"trt_fp16_enable": str("precision" in asked)}
    assert found[1:] == of()


def test_tensorrts_engines_of_other_shapes_and_weights_lie_apart(tmp_path: Path) -> None:
    def folder(weights: Weights, shape: tuple[int, int, int, int] | None) -> str:
        extra = {"provider": "tensorrt", "trt_engine_cache_path": str(tmp_path / "engines")}
        found = providers(weights, EngineOptions("gpu", extra=extra), "pixels", shape)[0][1]
        assert found["trt_engine_cache_enable"] == "True"
        return str(found["trt_engine_cache_path"])

    other = Weights("some_rec", "ctc", "onnx", "/nowhere", "1" * 64, (0.5,) * 3, (0.5,) * 3, 1 / 255)
    folders = [folder(WEIGHTS, LINES), folder(WEIGHTS, (4, 48, 640, 3)), folder(WEIGHTS, None), folder(other, LINES)]
    assert len(set(folders)) == 4
    assert all(Path(path).is_dir() for path in folders)
    assert folder(WEIGHTS, LINES) == folders[0]


def test_one_tensorrt_engine_is_for_pages_of_every_size() -> None:
    options = of(None, provider="tensorrt")[0][1]
    assert options["trt_profile_min_shapes"] == "pixels:1x32x32x3"
    assert options["trt_profile_max_shapes"] == "pixels:1x4000x4000x3"
    assert "trt_profile_min_shapes" not in of(provider="tensorrt")[0][1]
