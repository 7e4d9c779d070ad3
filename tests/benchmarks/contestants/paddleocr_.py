"""PaddleOCR 3.7, on ONNX Runtime or on its own engine: see lap.py.

Recognition goes line by line, which is its fastest here: a batch is padded to its widest line.
"""

import os
from pathlib import Path

from lap import clocked, entry, images, leave

ENTRY = entry()
WEIGHTS = Path(ENTRY["weights"])
ENGINES = {"onnxruntime": "onnxruntime", "paddle": "paddlepaddle"}  # and the package of each

os.environ["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"  # no look at the hubs: the weights are given
os.environ["PADDLE_PDX_CACHE_HOME"] = str(WEIGHTS.parent / "paddlex")  # and nothing below the home folder

from paddleocr import PaddleOCR

ocr = PaddleOCR(
    text_detection_model_name=f"{WEIGHTS.name}_det",
    text_detection_model_dir=str(WEIGHTS / "det"),
    text_recognition_model_name=f"{WEIGHTS.name}_rec",
    text_recognition_model_dir=str(WEIGHTS / "rec"),
    text_recognition_batch_size=1,
    use_doc_orientation_classify=False,
    use_doc_unwarping=False,
    use_textline_orientation=False,
    engine=ENTRY["engine"],
)


def read(pages):
    return [ocr.predict(page)[0]["rec_texts"] for page in pages]


leave(clocked(read, images()), "paddleocr", "paddlex", ENGINES[ENTRY["engine"]])
