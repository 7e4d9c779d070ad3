"""A model in a folder of the user's, on disk or in object storage.

Invariant: a remote folder is in the cache whole or not at all; its name there depends on its objects' etags.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocrbatch.errors import ModelError
from ocrbatch.models.weights import FORMATS, Format

if TYPE_CHECKING:
    from ocrbatch.storage import Storage

SUFFIXES: Final = {".onnx", ".pdmodel", ".json", ".pdiparams", ".yml", ".yaml"}
LAYOUT: Final = (
    "A model folder holds inference.onnx, or inference.json (or inference.pdmodel) with inference.pdiparams; "
    "and the inference.yml that came with it."
)
READERS: Final = "Set engine.name: paddle reads paddle, openvino and onnxruntime read onnx; or give another model."


def local_copy(uri: str, storage: Storage | None, cache: Path) -> Path:
    """The folder on this disk. Raises ModelError when it isn't there; StorageError when a remote one can't be read."""
    from ocrbatch import storage as opening

    local = opening.local_path(uri)
    if local is None:
        return _fetched(uri, storage or opening.Storage(), cache)
    if not local.is_dir():
        raise ModelError(f"the model folder {local} does not exist", "Check model_dir.")
    return local


def find(folder: Path, formats: Sequence[Format] = FORMATS) -> tuple[Format, Path, Path]:
    """Format, model file (Paddle: the program) and config of a model folder: of the first of `formats` that is there.

    Raises ModelError that says what a model folder holds.
    """
    configs = [path for path in (folder / "inference.yml", folder / "inference.yaml") if path.is_file()]
    if not configs:
        raise ModelError(f"{folder} holds no inference.yml", LAYOUT)
    held = ((kind, _onnx(folder) if kind == "onnx" else paddle_program(folder)) for kind in (*formats, *FORMATS))
    kind, model = next(((kind, model) for kind, model in held if model is not None), (None, None))
    if kind is None or model is None:
        raise ModelError(f"{folder} holds no model", LAYOUT)
    if kind not in formats:
        raise ModelError(f"{folder} holds only a model in {kind} format, which the engine doesn't read", READERS)
    return kind, model, configs[0]


def paddle_program(folder: Path) -> Path | None:
    """Paddle's program file, the newer format first, where its parameters are beside it."""
    found = [folder / "inference.json", *sorted(folder.glob("*.pdmodel"))]
    return next((path for path in found if path.is_file() and path.with_suffix(".pdiparams").is_file()), None)


def _onnx(folder: Path) -> Path | None:
    named = folder / "inference.onnx"
    found = [named] if named.is_file() else sorted(folder.glob("*.onnx"))
    if len(found) > 1:
        raise ModelError(f"{folder} holds several ONNX files: {', '.join(p.name for p in found[:5])}", LAYOUT)
    return found[0] if found else None


def _fetched(uri: str, storage: Storage, cache: Path) -> Path:
    root = uri.rstrip("/") + "/"
    entries = [e for e in storage.list(root) if "/" not in e.uri.removeprefix(root) and Path(e.uri).suffix in SUFFIXES]
    if not entries:
        raise ModelError(f"there is no model in {root}", LAYOUT)
    key = hashlib.sha256("\n".join(f"{e.uri} {e.etag}" for e in entries).encode()).hexdigest()[:32]
    folder = cache / "folders" / key
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    passing = Path(tempfile.mkdtemp(prefix="fetch-", dir=folder.parent))
    try:
        for entry in entries:
            storage.fetch(entry.uri, passing / entry.uri.removeprefix(root))
        _settle(passing, folder)
    finally:
        shutil.rmtree(passing, ignore_errors=True)
    return folder


def _settle(passing: Path, folder: Path) -> None:
    try:
        passing.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another worker was faster: the same etags, so the same bytes
            raise
