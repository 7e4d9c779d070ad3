"""ocrbatch in one process, without Ray, by the engine that `auto` chooses: see lap.py."""

import time
from contextlib import ExitStack
from unittest import mock

import numpy as np
from lap import clocked, images, leave

import ocrbatch.detection.detector
import ocrbatch.reading.reader
from ocrbatch import OcrPipeline
from ocrbatch.engines.registry import choose

pipeline = OcrPipeline()
reader = pipeline._reader
PARTS = {
    "detection model": (reader._detector._engine, "run"),
    "post-processing": (ocrbatch.detection.detector, "regions"),
    "crops": (ocrbatch.reading.reader, "crop"),
    "recognition": (reader._recognizer, "recognize"),
}


def read(pages):
    return [[line.text for line in record.lines] for record in pipeline.read(pages)]


def stages(pages):
    """Seconds a page in each part, in a pass of its own, so that the one on the clock is not disturbed."""
    seconds = dict.fromkeys(PARTS, 0.0)

    def timed(part, call):
        def wrapper(*arguments):
            started = time.perf_counter()
            found = call(*arguments)
            seconds[part] += time.perf_counter() - started
            return found

        return wrapper

    with ExitStack() as patches:
        for part, (owner, name) in PARTS.items():
            patches.enter_context(mock.patch.object(owner, name, timed(part, getattr(owner, name))))
        started = time.perf_counter()
        read(pages)
        whole = time.perf_counter() - started
    seconds["other"] = whole - sum(seconds.values())  # resizing, reading order, records
    return {part: spent / len(pages) for part, spent in seconds.items()}


pages = [np.ascontiguousarray(page[:, :, ::-1]) for page in images()]
choice = choose(pipeline.config.engine)
report = clocked(read, pages) | {"stages": stages(pages), "versions": {"precision": choice.options.precision}}
leave(report, "ocrbatch", choice.name)
