"""The reader: a loaded detector and recognizer, and the one way from a page's image to its lines.

Invariant: `read` is nothing but `detect` and `recognize` in a row, so a pipeline that runs them in different processes,
on other batches, gives the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from typing import Any, Final, Literal, Self

import cv2

from ocrbatch.config import JobConfig
from ocrbatch.detection.detector import Detector
from ocrbatch.documents.versions import versions
from ocrbatch.engines.registry import RUNTIMES, choose, identity, load
from ocrbatch.geometry import whole
from ocrbatch.models.registry import resolve
from ocrbatch.models.weights import Weights
from ocrbatch.recognition.preprocess import crop, scaled
from ocrbatch.recognition.recognizer import Fill, Recognizer
from ocrbatch.records import Line, Pixels, Region
from ocrbatch.storage import Storage

Part = Literal["detection", "recognition"]

PARTS: Final[dict[str, tuple[Part, ...]]] = {
    "ocr": ("detection", "recognition"),
    "detect": ("detection",),
    "recognize": ("recognition",),
}
"""The parts, each a section of the config with a model, that a task needs."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A page between detection and recognition.

    regions: in reading order. crops: of each region what recognition needs of the page, (48, w, 3) uint8 BGR; none for
    the task detect.
    """

    regions: Sequence[Region]
    crops: Sequence[Pixels]


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
        if threads is not None:  # OpenCV otherwise starts a thread a core in every worker
            cv2.setNumThreads(threads)
        detector = recognizer = None
        if detection and "detection" in PARTS[config.task]:
            found = weights(config, "detection")
            choice = choose(config.engine, threads, config.detection.batch_pixels)
            together = choice.options.device == "gpu"
            detector = Detector(load(choice, found), config.detection, found.max_candidates, together=together)
        if recognition and "recognition" in PARTS[config.task]:
            found = weights(config, "recognition")
            choice = choose(config.engine, threads, config.recognition.batch_pixels)
            recognizer = Recognizer(load(choice, found), found.characters, config.recognition)
        return cls(config, detector, recognizer)

    @property
    def fill(self) -> Fill:
        """How well the recognition batches of this reader's life were filled; take two and subtract for a while."""
        return self._recognizer.fill if self._recognizer else Fill()

    def read(self, images: Sequence[Pixels]) -> list[Reading]:
        """Reads pages, each (H, W, 3) uint8 RGB, together. Raises RuntimeError when an engine fails."""
        return self.recognize(self.detect(images))

    def detect(self, images: Sequence[Pixels]) -> list[Detected]:
        """Finds and cuts out the lines of pages, each (H, W, 3) uint8 RGB; for the task recognize, the whole image.

        Raises RuntimeError when the engine fails.
        """
        if self._config.task == "recognize":
            return [Detected((Region(whole(image), 1.0),), (scaled(image),)) for image in images]
        assert self._detector is not None, "this reader was loaded without detection"
        pages = zip(images, self._detector.detect(images), strict=True)
        if self._config.task == "detect":
            return [Detected(regions, ()) for _, regions in pages]
        return [Detected(regions, [crop(image, region.polygon) for region in regions]) for image, regions in pages]

    def recognize(self, pages: Sequence[Detected]) -> list[Reading]:
        """Reads the crops of pages; those of many pages together fill batches better.

        Raises RuntimeError when the engine fails.
        """
        if self._config.task == "detect":
            return [Reading(tuple(Line("", 0.0, r.polygon, r.score) for r in page.regions)) for page in pages]
        crops = [image for page in pages for image in page.crops]
        if not crops:
            return [Reading(()) for _ in pages]
        assert self._recognizer is not None, "this reader was loaded without recognition"
        texts = iter(self._recognizer.recognize(crops))
        return [self._reading(page.regions, list(islice(texts, len(page.crops)))) for page in pages]

    def _reading(self, regions: Sequence[Region], texts: Sequence[tuple[str, float]]) -> Reading:
        lines = [
            Line(text, score, region.polygon, region.score)
            for region, (text, score) in zip(regions, texts, strict=True)
        ]
        thresh = self._config.recognition.score_thresh
        return Reading(
            tuple(line for line in lines if line.score >= thresh), tuple(line for line in lines if line.score < thresh)
        )


def weights(config: JobConfig, part: Part) -> Weights:
    """The weights of a part, checked, in a format that the engine reads; loads nothing.

    Object storage is read with the input's credentials. Raises ModelError, MissingExtraError and UsageError.
    """
    section = getattr(config, part)
    formats = RUNTIMES[choose(config.engine).name].formats
    return resolve(section.model_name, section.model_dir, Storage(config.input.storage), formats=formats)


def models_of(config: JobConfig) -> list[str]:
    """Names of the weights that the task uses: of a model_dir what its own config says, else the folder's name."""
    return [weights(config, part).name for part in PARTS[config.task]]


def resolved(config: JobConfig) -> dict[str, Any]:
    """All that can change a result and isn't in the config, for `ocrbatch.config.fingerprint`; loads no model.

    The engine's build and precision, the weights and what their own config says, and the versions of what decodes and
    shapes pixels; on a GPU the lines and pages in one call, too, by whose number it picks its kernels.
    """
    choice = choose(config.engine)
    found: dict[str, Any] = {
        "engine": identity(choice),
        "weights": {part: weights(config, part).digest for part in PARTS[config.task]},
        "decoders": versions(),
        "cv2": cv2.__version__,
        "pyclipper": metadata.version("pyclipper"),
    }
    if choice.options.device == "gpu":
        found["batch_pixels"] = {part: getattr(config, part).batch_pixels for part in PARTS[config.task]}
    return found
