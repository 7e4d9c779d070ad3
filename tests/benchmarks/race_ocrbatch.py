"""Our side of race.py: `race_ocrbatch.py REPORT IMAGE...`. The engine is what `auto` chooses; one process, no Ray."""

import json
import sys
import time
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np

from ocrbatch import OcrPipeline
from ocrbatch.engines.registry import choose

pipeline = OcrPipeline()
choice = choose(pipeline.config.engine)
images = [np.ascontiguousarray(cv2.imread(path)[:, :, ::-1]) for path in sys.argv[2:]]
list(pipeline.read(images))  # to be warm
start = time.perf_counter()
records = list(pipeline.read(images))
seconds = time.perf_counter() - start
report = {
    "seconds_per_page": seconds / len(images),
    "lines": sum(len(record.lines) for record in records),
    "versions": {name: metadata.version(name) for name in ("ocrbatch", choice.name)}
    | {"precision": choice.options.precision},
}
Path(sys.argv[1]).write_text(json.dumps(report), encoding="utf8")
