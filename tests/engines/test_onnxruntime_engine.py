"""What is ONNX Runtime's own on the CPU."""

import pytest

from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.onnxruntime import OnnxRuntimeEngine
from ocrbatch.errors import UsageError
from ocrbatch.models.registry import resolve

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.models


@pytest.mark.parametrize("option", ["providers", "gpu_mem_limit"])
def test_an_option_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}.* on the CPU"):
        OnnxRuntimeEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(extra={option: 1}))
