"""RapidOCR 3, on ONNX Runtime or on OpenVINO: see lap.py. Weights, preparation and thresholds are those of ocrbatch."""

import tempfile
from pathlib import Path

import yaml
from lap import clocked, entry, images, leave
from rapidocr import EngineType, RapidOCR

ENTRY = entry()
WEIGHTS = Path(ENTRY["weights"])


def beside(task):
    return yaml.safe_load((WEIGHTS / task / "inference.yml").read_text(encoding="utf8"))


def step(tree, name):
    return next(step[name] for step in tree["PreProcess"]["transform_ops"] if name in step)


detection, recognition = beside("det"), beside("rec")
pixels = step(detection, "NormalizeImage")
with tempfile.NamedTemporaryFile("w", encoding="utf8", suffix=".txt") as keys:
    keys.writelines(f"{character}\n" for character in recognition["PostProcess"]["character_dict"])
    keys.flush()
    ocr = RapidOCR(
        params={
            "Global.log_level": "warning",
            "Global.use_cls": False,
            "Global.text_score": 0.0,
            "Global.max_side_len": 4000,
            "Det.engine_type": EngineType(ENTRY["engine"]),
            "Det.model_path": str(WEIGHTS / "det/inference.onnx"),
            "Det.limit_side_len": 64,
            "Det.limit_type": "min",
            "Det.mean": pixels["mean"],
            "Det.std": pixels["std"],
            "Det.thresh": 0.3,
            "Det.box_thresh": 0.6,
            "Det.unclip_ratio": 1.5,
            "Det.max_candidates": detection["PostProcess"]["max_candidates"],
            "Det.use_dilation": False,
            "Rec.engine_type": EngineType(ENTRY["engine"]),
            "Rec.model_path": str(WEIGHTS / "rec/inference.onnx"),
            "Rec.rec_keys_path": keys.name,
        }
    )
    pages = images()
    ocr(pages[0])  # models are loaded, and the keys read, at the first page


def read(pages):
    return [list(ocr(page).txts or ()) for page in pages]


leave(clocked(read, pages), "rapidocr", ENTRY["engine"])
