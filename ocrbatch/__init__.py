"""ocrbatch: a distributed batch OCR job on Ray Data."""

__version__ = "0.1.0"
