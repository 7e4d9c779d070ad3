"""ocrbatch in one process, without Ray, by the engine that `auto` chooses: see lap.py."""

import time
from contextlib import ExitStack
from unittest import mock

import numpy as np
from lap import clocked, entry, images, leave

import ocrbatch.detection.detector
import ocrbatch.reading.reader
import ocrbatch.recognition.recognizer
from ocrbatch import OcrPipeline
from ocrbatch.engines.registry import choose

PRECISION = entry().get("precision")
pipeline = OcrPipeline(engine={"precision": PRECISION} if PRECISION else {})
reader = pipeline._reader
PARTS = {
    "detection model": (reader._detector._engine, "run"),
    "post-processing": (ocrbatch.detection.detector, "regions"),
    "crops": (ocrbatch.reading.reader, "crop"),
    "recognition": (reader._recognizer, "recognize"),
}
# Parts of recognition that are no model, all in the thread that calls it.
BESIDE = {
    "padding": (ocrbatch.recognition.recognizer, "padded"),
    "decoding": (ocrbatch.recognition.recognizer, "decode"),
}


def read(pages):
    return [[line.text for line in record.lines] for record in pipeline.read(pages)]


def stages(pages):
    """Seconds a page in each part, and CPU seconds a page in the models, in a pass of its own: the one on the clock is
    not disturbed."""
    seconds = dict.fromkeys(PARTS | BESIDE, 0.0)
    busy = dict(seconds)

    def timed(part, call, cpu):
        def wrapper(*arguments):
            started, ran = time.perf_counter(), cpu()
            found = call(*arguments)
            seconds[part] += time.perf_counter() - started
            busy[part] += cpu() - ran
            return found

        return wrapper

    with ExitStack() as patches:
        for part, (owner, name) in (PARTS | BESIDE).items():
            cpu = time.thread_time if part in BESIDE else time.process_time
            patches.enter_context(mock.patch.object(owner, name, timed(part, getattr(owner, name), cpu)))
        started = time.perf_counter()
        read(pages)
        whole = time.perf_counter() - started
    models = busy["detection model"] + busy["recognition"] - sum(busy[part] for part in BESIDE)
    spent = {part: seconds[part] for part in PARTS}
    spent["other"] = whole - sum(spent.values())  # resizing, reading order, records
    parts = {part: value / len(pages) for part, value in spent.items()}
    return {"stages": parts, "model_cpu_seconds_per_page": models / len(pages)}


pages = [np.ascontiguousarray(page[:, :, ::-1]) for page in images()]
choice = choose(pipeline.config.engine)
report = clocked(read, pages) | stages(pages) | {"versions": {"precision": choice.options.precision}}
leave(report, "ocrbatch", choice.name)
