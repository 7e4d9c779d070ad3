"""ocrbatch: a distributed batch OCR job on Ray Data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocrbatch.errors import DocumentError, OcrBatchError

if TYPE_CHECKING:
    from ocrbatch.reading.pipeline import OcrPipeline

__version__ = "0.1.0"
__all__ = ["DocumentError", "OcrBatchError", "OcrPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    # On first use: the command line and every worker import this package, and few of them need it.
    if name == "OcrPipeline":
        from ocrbatch.reading.pipeline import OcrPipeline

        return OcrPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
