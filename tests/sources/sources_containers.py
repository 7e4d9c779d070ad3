"""Containers made of real bytes, and how one of them fails."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ocrbatch.config import DocumentsConfig
from ocrbatch.errors import DocumentError
from ocrbatch.records import Document
from ocrbatch.sources.fetching import fetch
from ocrbatch.storage import Storage

Put = Callable[..., Path]
PutMemory = Callable[..., str]
LIMITS = DocumentsConfig()

FILES: dict[str, bytes] = {
    "a/1.png": b"first " * 100,
    "a/2.png": b"",
    "b.pdf": bytes(range(256)) * 40,
    "b/" + "long" * 60 + ".png": b"a name that needs an extended header",
    "b/Kassenbon Ärger.jpg": b"not ascii",
}


def zip_bytes(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("folder/", b"")
        for name, body in files.items():
            archive.writestr(name, body)
    return out.getvalue()


def tar_bytes(files: Mapping[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


def failing(storage: Storage, document: Document, folder: Path, limits: DocumentsConfig = LIMITS) -> DocumentError:
    """The error that fetching it ends with; nothing of it is left behind."""
    with pytest.raises(DocumentError) as caught:
        fetch(document, storage, folder, limits)
    assert caught.value.remedy
    assert list(folder.glob("fetched-*")) == []
    return caught.value
