"""What is ONNX Runtime's own: no silent fall-back to the CPU, the rows of a GPU's calls, options."""

import numpy as np
import pytest

from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.onnxruntime import OnnxRuntimeEngine
from ocrbatch.errors import UsageError
from ocrbatch.models.registry import resolve

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.models


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this build has CUDA")
@pytest.mark.parametrize(("precision", "provider"), [("fp32", "CUDA"), ("fp16", "Tensorrt")])
def test_a_build_without_the_provider_says_which_one_to_install(precision: str, provider: str) -> None:
    with pytest.raises(UsageError, match=provider) as caught:
        OnnxRuntimeEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(device="gpu", precision=precision))
    assert "onnxruntime-gpu" in caught.value.remedy


def test_on_a_gpu_every_call_of_a_width_has_the_rows_that_the_config_says() -> None:
    weights = resolve("PP-OCRv6_tiny_rec")
    engine = OnnxRuntimeEngine(weights, EngineOptions(batch_pixels=400))
    rows = np.random.default_rng(0).integers(0, 255, (8, 48, 128, 3), dtype=np.uint8)
    expected = engine.run(rows)
    session, shapes = engine._session, []

    class Session:
        def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            shapes.append(next(iter(inputs.values())).shape)
            return session.run(names, inputs)

    engine._session, engine._on_gpu = Session(), True
    found = engine.run(rows)
    assert shapes == [(3, 3, 48, 128)] * 3
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(UsageError, match="providers"):
        OnnxRuntimeEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(extra={"providers": "cuda"}))
