"""What decodes: versions that change pixels, for the fingerprint."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# By Pillow's own names.
_CODECS: Final = ("libjpeg_turbo", "libtiff", "jpg_2000", "webp", "avif", "littlecms2")


@cache
def versions() -> dict[str, str]:
    """pdfium's build, Pillow's version and those of the codecs that it was built with.

    Needs neither pdfium nor a child: cheap enough for the driver. Codecs count, because a system's Pillow may bring
    other ones than the wheel.
    """
    from PIL import __version__, features

    codecs = {name: features.version(name) or "none" for name in _CODECS}
    return {"pdfium": _pdfium(), "pillow": __version__} | codecs


def _pdfium() -> str:
    # Importing the package would load the library; the build stands in a file beside it.
    spec = find_spec("pypdfium2_raw")
    if spec is None or spec.origin is None:
        return "none"
    build = json.loads((Path(spec.origin).parent / "version.json").read_text(encoding="utf8"))
    return ".".join(str(build[key]) for key in ("major", "minor", "build", "patch")) + f"@{build.get('origin', '')}"
