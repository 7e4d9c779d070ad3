"""The official hub, reached through PaddleX in a process of its own.

PaddleX logs at import and pulls in half a gigabyte: none of that enters this process. Its own cache is used, so models
that it fetched before need no network.

Invariant: no credential and no signed URL of the hub's reaches a message.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from ocrbatch.errors import MissingExtraError, ModelError

FETCH_SECONDS: Final = 1800
_SCRIPT: Final = (
    "import sys; from paddlex.inference.utils.official_models import official_models as hub; "
    "print('FOLDER ' + str(hub.get_model_path(sys.argv[1], model_formats=sys.argv[2:])))"
)
_CREDENTIALS: Final = re.compile(r"//[^/@\s]+@|\?[^\s'\"]+")


def available() -> bool:
    """Whether PaddleX is installed; it isn't imported."""
    return importlib.util.find_spec("paddlex") is not None


def fetch(name: str, formats: tuple[str, ...]) -> Path:
    """Folder of an official model, downloaded at first use; the first of `formats` (onnx, paddle) that the hub has.

    Raises MissingExtraError without PaddleX, ModelError when the hub can't be reached or hasn't got it.
    """
    if not available():
        raise MissingExtraError("paddlex", "paddle", f"Fetching {name} from the official hub")
    command = [sys.executable, "-c", _SCRIPT, name, *formats]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise _unreachable(name, f"no answer within {FETCH_SECONDS} s") from error
    folders = [line.removeprefix("FOLDER ") for line in done.stdout.splitlines() if line.startswith("FOLDER ")]
    if done.returncode != 0 or not folders:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise _unreachable(name, _CREDENTIALS.sub("", lines[-1]))
    return Path(folders[-1])


def _unreachable(name: str, cause: str) -> ModelError:
    return ModelError(
        f"can't fetch {name} from the official hub: {cause}",
        "Check the network, or download the model's folder elsewhere and give it by model_dir.",
    )
