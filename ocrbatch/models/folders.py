"""A model in a folder of the user's, on disk or in object storage.

Invariant: a remote folder is in the cache whole or not at all; its name there depends on its objects' etags.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ocrbatch.errors import ModelError

if TYPE_CHECKING:
    from ocrbatch.storage import Storage

Format = Literal["onnx", "paddle"]

SUFFIXES: Final = {".onnx", ".pdmodel", ".json", ".pdiparams", ".yml", ".yaml"}
LAYOUT: Final = (
    "A model folder holds inference.onnx, or inference.json (or inference.pdmodel) with inference.pdiparams; "
    "and the inference.yml that came with it."
)


def local_copy(uri: str, storage: Storage | None, cache: Path) -> Path:
    """The folder on this disk. Raises ModelError when it isn't there; StorageError when a remote one can't be read."""
    from ocrbatch.storage import Storage as OpenedStorage

    reader = storage or OpenedStorage()
    local = reader.is_local(uri)
    if local is None:
        return _fetched(uri, reader, cache)
    if not local.is_dir():
        raise ModelError(f"the model folder {local} does not exist", "Check model_dir.")
    return local


def find(folder: Path, wanted: Format | None = None) -> tuple[Format, Path, Path]:
    """Format, model file (Paddle: the program) and config of a model folder; ONNX is taken where both are there.

    Raises ModelError that says what a model folder holds.
    """
    configs = [path for path in (folder / "inference.yml", folder / "inference.yaml") if path.is_file()]
    if not configs:
        raise ModelError(f"{folder} holds no inference.yml", LAYOUT)
    if wanted != "paddle" and (model := _onnx(folder)) is not None:
        return "onnx", model, configs[0]
    if wanted != "onnx" and (program := paddle_program(folder)) is not None:
        return "paddle", program, configs[0]
    raise ModelError(f"{folder} holds no {wanted + ' ' if wanted else ''}model", LAYOUT)


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
