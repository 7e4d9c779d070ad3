"""The reader: a loaded detector and recognizer, and the one way from a page's image to its lines.

Invariant: `read` is nothing but `detect`, `strips`, `recognize` and `assemble` in a row, so a pipeline that runs
them in different processes, on other batches, gives the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from typing import Any, Literal, Self

import cv2

from ocrbatch.config import JobConfig
from ocrbatch.detection.detector import Detector
from ocrbatch.documents.versions import versions
from ocrbatch.engines.registry import choose, identity, load
from ocrbatch.geometry import whole
from ocrbatch.models.registry import resolve
from ocrbatch.models.weights import Weights
from ocrbatch.recognition.preprocess import scaled, strip
from ocrbatch.recognition.recognizer import Fill, Recognizer
from ocrbatch.records import Line, Pixels, Region
from ocrbatch.storage import Storage


@dataclass(frozen=True, slots=True)
class Reading:
    """What one page says, in reading order. rejected: lines below recognition.score_thresh."""

    lines: tuple[Line, ...]
    rejected: tuple[Line, ...] = ()


class Reader:
    """Models loaded for one task. Not thread-safe.

    task ocr: find and read lines; detect: only find them (text "", score 0); recognize: each image is one line, and is
    not turned however tall it is, as in PaddleX's recognition module.
    """

    def __init__(self, config: JobConfig, detector: Detector | None, recognizer: Recognizer | None) -> None:
        self._config = config
        self._detector = detector
        self._recognizer = recognizer

    @classmethod
    def load(
        cls, config: JobConfig, threads: int | None = None, *, detection: bool = True, recognition: bool = True
    ) -> Self:
        """Loads the models that the task needs; detection or recognition False: not that one, another worker has it.

        threads: CPU threads that this worker was given, OpenCV included; None for as many as the process may run on.
        Raises ModelError and MissingExtraError.
        """
        choice = choose(config.engine, threads)
        if threads is not None:  # OpenCV otherwise starts a thread a core in every worker
            cv2.setNumThreads(threads)
        detector = recognizer = None
        if detection and config.task != "recognize":
            detector = Detector(load(choice, weights(config, "detection")), config.detection)
        if recognition and config.task != "detect":
            found = weights(config, "recognition")
            recognizer = Recognizer(load(choice, found), found.characters, config.recognition)
        return cls(config, detector, recognizer)

    @property
    def fill(self) -> Fill:
        """How well the recognition batches so far were filled."""
        return self._recognizer.fill if self._recognizer else Fill()

    def detect(self, images: Sequence[Pixels]) -> list[list[Region]]:
        """Regions of pages, each (H, W, 3) uint8 RGB, in reading order; for the task recognize, the whole image."""
        if self._config.task == "recognize":
            return [[Region(whole(image), 1.0)] for image in images]
        assert self._detector is not None, "this reader was loaded without detection"
        return self._detector.detect(images)

    def strips(self, image: Pixels, regions: Sequence[Region]) -> list[Pixels]:
        """A strip for each region of a page, (48, w, 3) uint8 BGR: all that recognition needs. For detect, none."""
        match self._config.task:
            case "detect":
                return []
            case "recognize":
                return [scaled(image) for _ in regions]
            case "ocr":
                return [strip(image, region.polygon) for region in regions]

    def recognize(self, strips: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Text and score of each strip; strips of many pages together fill batches better."""
        if not strips:
            return []
        assert self._recognizer is not None, "this reader was loaded without recognition"
        return self._recognizer.recognize(strips)

    def assemble(self, regions: Sequence[Region], texts: Sequence[tuple[str, float]]) -> Reading:
        """Joins a page's regions with what `recognize` gave for its strips."""
        if self._config.task == "detect":
            return Reading(tuple(Line("", 0.0, region.polygon, region.score) for region in regions))
        lines = [
            Line(text, score, region.polygon, region.score)
            for region, (text, score) in zip(regions, texts, strict=True)
        ]
        thresh = self._config.recognition.score_thresh
        return Reading(
            tuple(line for line in lines if line.score >= thresh), tuple(line for line in lines if line.score < thresh)
        )

    def read(self, images: Sequence[Pixels]) -> list[Reading]:
        """Reads pages, each (H, W, 3) uint8 RGB, together. Raises RuntimeError when an engine fails."""
        pages = self.detect(images)
        strips = [self.strips(image, regions) for image, regions in zip(images, pages, strict=True)]
        texts = iter(self.recognize([strip for page in strips for strip in page]))
        return [
            self.assemble(regions, list(islice(texts, len(page)))) for regions, page in zip(pages, strips, strict=True)
        ]


def weights(config: JobConfig, part: Literal["detection", "recognition"]) -> Weights:
    """The weights that a section of the config names; object storage is read with the input's credentials."""
    section = getattr(config, part)
    return resolve(section.model_name, section.model_dir, Storage(config.input.storage))


def resolved(config: JobConfig) -> dict[str, Any]:
    """All that can change a result and isn't in the config, for `ocrbatch.config.fingerprint`; loads no model.

    The engine's build and precision, the weights' SHA-256, and the versions of what decodes and shapes pixels.
    """
    needed: dict[str, tuple[Literal["detection", "recognition"], ...]] = {
        "ocr": ("detection", "recognition"),
        "detect": ("detection",),
        "recognize": ("recognition",),
    }
    return {
        "engine": identity(choose(config.engine)),
        "weights": {part: weights(config, part).sha256 for part in needed[config.task]},
        "decoders": versions(),
        "cv2": cv2.__version__,
        "pyclipper": metadata.version("pyclipper"),
    }
