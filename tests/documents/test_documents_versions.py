"""What decodes is part of the fingerprint."""

from __future__ import annotations

import subprocess
import sys

import PIL
import pypdfium2.version

from ocrbatch.documents.versions import versions


def test_versions_name_the_decoders() -> None:
    found = versions()
    assert found["pillow"] == PIL.__version__
    info = pypdfium2.version.PDFIUM_INFO
    assert found["pdfium"].startswith(f"{info.major}.{info.minor}.{info.build}.{info.patch}")
    assert all(isinstance(value, str) and value for value in found.values())


def test_asking_does_not_load_pdfium() -> None:
    program = "import sys, ocrbatch.documents.versions as v; v.versions(); print('pypdfium2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
