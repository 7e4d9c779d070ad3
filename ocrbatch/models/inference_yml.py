"""Reads the `inference.yml` that stands beside an official model: how pixels enter it, and which classes come out.

Invariant: a `Preparation` is complete; a file that leaves something open is an error here, not a wrong text later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ocrbatch.errors import ModelError
from ocrbatch.models.weights import LINE_HEIGHT, MAX_CANDIDATES, Head, Triple

# PaddleX's own defaults of NormalizeImage, and the ones that its recognition resize has built in.
DETECTION_MEAN: Final[Triple] = (0.485, 0.456, 0.406)
DETECTION_STD: Final[Triple] = (0.229, 0.224, 0.225)
RECOGNITION_HALF: Final[Triple] = (0.5, 0.5, 0.5)
# How PaddleX post-processes a map where nothing else is said, and the only way that is done here.
DETECTION_POST: Final[dict[str, Any]] = {"use_dilation": False, "score_mode": "fast", "box_type": "quad"}
_FRACTION: Final = re.compile(r"\s*([0-9.eE+-]+)\s*(?:/\s*([0-9.eE+-]+)\s*)?")
# 18,708 characters: 15 ms by the C loader, 0.9 s by the one in Python.
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a model's config says. name: its official name, empty where the file has none; else see `Weights`."""

    name: str
    head: Head
    mean: Triple
    std: Triple
    scale: float
    characters: tuple[str, ...] = ()
    max_candidates: int = MAX_CANDIDATES


def detection(name: str = "") -> Preparation:
    """The preparation of an official detection model that came without a config."""
    return Preparation(name, "map", DETECTION_MEAN, DETECTION_STD, 1 / 255)


def recognition(characters: list[str], name: str = "") -> Preparation:
    """The preparation of an official recognition model; `characters` as shipped, without the blank and the space."""
    return Preparation(name, "ctc", RECOGNITION_HALF, RECOGNITION_HALF, 1 / 255, ctc_classes(characters))


def ctc_classes(characters: list[str]) -> tuple[str, ...]:
    """Class list of a CTC head as PaddleX's CTCLabelDecode builds it: the blank, the characters, a space."""
    return ("blank", *characters, " ")


def read_characters(path: Path) -> list[str]:
    """Reads a list of characters, one a line. Only a newline ends one: U+2028 and its like are characters too."""
    try:
        text = path.read_bytes().decode("utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"can't read the list of characters {path}: {error}", "Put the model's own file back."
        ) from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def read(path: Path) -> Preparation:
    """Reads an inference.yml. Raises ModelError that names the file and what it lacks."""
    try:
        tree = yaml.load(path.read_bytes(), _Loader)
        return parse(tree)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        cause = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"can't use the model config {path}: {cause}", "Take the inference.yml that the model came with."
        ) from error


def parse(tree: Any) -> Preparation:
    """Builds a Preparation from a loaded inference.yml. Raises KeyError, TypeError or ValueError where it can't."""
    if not isinstance(tree, dict):
        raise TypeError("it is not a mapping")
    name = str((tree.get("Global") or {}).get("model_name", ""))
    decoder = str(tree["PostProcess"]["name"])
    operations: dict[str, dict[str, Any]] = {}
    for step in tree["PreProcess"]["transform_ops"]:
        operations |= {key: value or {} for key, value in step.items()}
    if decoder == "DBPostProcess":
        normalize = operations.get("NormalizeImage", {})
        mean = _triple(normalize.get("mean", DETECTION_MEAN))
        std = _triple(normalize.get("std", DETECTION_STD))
        post = tree["PostProcess"]
        for key, value in DETECTION_POST.items():
            if post.get(key, value) != value:
                raise ValueError(f"{key} {post[key]!r} is not supported, only {value!r}")
        candidates = int(post.get("max_candidates", MAX_CANDIDATES))
        return Preparation(name, "map", mean, std, _fraction(normalize.get("scale", 1 / 255)), (), candidates)
    if decoder == "CTCLabelDecode":
        shape = operations["RecResizeImg"]["image_shape"]
        if list(shape[:2]) != [3, LINE_HEIGHT]:
            raise ValueError(f"lines of shape {shape} are not supported, only 3 channels and {LINE_HEIGHT} rows")
        return recognition([str(c) for c in tree["PostProcess"]["character_dict"]], name)
    raise ValueError(
        f"PostProcess {decoder!r} is neither text detection (DBPostProcess) nor recognition (CTCLabelDecode)"
    )


def _triple(values: Any) -> Triple:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _fraction(value: float | str) -> float:
    """The official files write the scale as the text `1./255.`, which PaddleX evaluates."""
    match = _FRACTION.fullmatch(str(value))
    if match is None:
        raise ValueError(f"scale {value!r} is not a number")
    return float(match[1]) / float(match[2] or 1)
