"""PaddleOCR 3.7, on ONNX Runtime or on Paddle Inference, each with the settings that are its fastest: see lap.py."""

import os
from pathlib import Path

from lap import clocked, entry, images, leave

os.environ["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"  # no look at the hubs: the weights are given

from paddleocr import PaddleOCR

ENTRY = entry()
WEIGHTS = Path(ENTRY["weights"])
DEVICE = ENTRY.get("device")  # none: what PaddleOCR takes itself
PACKAGE = {"onnxruntime": "onnxruntime", "paddle": "paddlepaddle"}[ENTRY["engine"]] + ("-gpu" if DEVICE else "")
# Lines that are read together, padded to the widest: on 2 CPUs Paddle's default, 6, takes half the time that 1 does.
LINES = {"onnxruntime": 1, "paddle": 6}[ENTRY["engine"]]

ocr = PaddleOCR(
    text_detection_model_name=f"{WEIGHTS.name}_det",
    text_detection_model_dir=str(WEIGHTS / "det"),
    text_recognition_model_name=f"{WEIGHTS.name}_rec",
    text_recognition_model_dir=str(WEIGHTS / "rec"),
    text_recognition_batch_size=LINES,
    use_doc_orientation_classify=False,
    use_doc_unwarping=False,
    use_textline_orientation=False,
    engine=ENTRY["engine"],
    device=DEVICE,
    cpu_threads=os.cpu_count(),  # of Paddle, which otherwise takes 10: a quarter slower on 2 CPUs
)


def read(pages):
    return [ocr.predict(page)[0]["rec_texts"] for page in pages]


leave(clocked(read, images()), "paddleocr", "paddlex", PACKAGE)
