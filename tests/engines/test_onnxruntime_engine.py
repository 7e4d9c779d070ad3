"""What is ONNX Runtime's own: no silent fall-back to the CPU, options."""

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


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(UsageError, match="providers"):
        OnnxRuntimeEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(extra={"providers": "cuda"}))
