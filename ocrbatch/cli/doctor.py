"""`ocrbatch doctor`: what this machine has, and what would go wrong on it."""

from __future__ import annotations

import argparse
import os
import platform
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from ocrbatch.cli.options import print_json
from ocrbatch.cli.streams import tell
from ocrbatch.config import JobConfig
from ocrbatch.errors import OcrBatchError, install

OK, NOTE, BAD = "ok", "note", "BAD"
OPENCV: Final = "opencv-python-headless==4.10.0.84"  # as in pyproject.toml
SHARED_GIB: Final = 1.0  # of /dev/shm, below which Ray's object store is small
Finding = tuple[str, str, str]  # level, what, said


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments: none of its own."""


def execute(arguments: argparse.Namespace) -> int:
    """Prints the findings; exit code 2 where a run would fail."""
    findings = [*_machine(), *_libraries(), *_engines(), *_weights()]
    if arguments.json:
        print_json([{"level": level, "what": what, "said": said} for level, what, said in findings])
    else:
        for level, what, said in findings:
            tell(f"{level:<5} {what:<14} {said}")
    return 2 if any(level == BAD for level, _, _ in findings) else 0


def _machine() -> Iterator[Finding]:
    from ocrbatch.engines import cpu

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield OK, "python", f"{platform.python_version()} on {platform.platform()}"
    yield OK, "machine", f"{len(os.sched_getaffinity(0))} CPUs ({cpu.level()}), {memory:.1f} GiB of memory"
    shared = os.statvfs("/dev/shm")
    free = shared.f_bavail * shared.f_frsize / 2**30
    if free >= SHARED_GIB:
        yield OK, "/dev/shm", f"{free:.1f} GiB free"
    else:
        small = "Ray's object store gets 90% of that, so few pages are under way at once (docker run --shm-size=2g)"
        yield NOTE, "/dev/shm", f"{free:.1f} GiB free: {small}"


def _libraries() -> Iterator[Finding]:
    for name in ("ray", "pyarrow", "numpy", "pypdfium2", "pillow", "s3fs", "fsspec"):
        yield OK, name, metadata.version(name)
    owners = [f"{name} {metadata.version(name)}" for name in _owners("cv2")]
    if len(owners) > 1:
        # A run works with either, and its fingerprint tells which. The extras paddle and paddle-gpu bring a second one.
        both = f"{' and '.join(owners)} install the same cv2: the one that was installed last is used"
        cure = f"pip uninstall them, then pip install {OPENCV} alone"
        yield NOTE, "opencv", f"{both}, and between versions pixels differ. To be sure, {cure}"
    elif owners:
        yield OK, "opencv", owners[0]


def _owners(module: str) -> list[str]:
    """Distributions that install the top-level module, by their own lists of files."""
    found = defaultdict(set)
    for name, distributions in metadata.packages_distributions().items():
        found[name].update(distributions)
    return sorted(found[module])


def _engines() -> Iterator[Finding]:
    from ocrbatch.engines.registry import choose, identity, installed

    for name in ("openvino", "onnxruntime", "paddle"):
        have = installed(name)
        yield (OK if have else NOTE), name, "installed" if have else f"not installed ({install(name)})"
    try:
        choice = choose(JobConfig().engine)
        said = ", ".join(f"{key} {value}" for key, value in identity(choice).items())
        yield OK, "engine: auto", f"{choice.why} ({said})"
    except OcrBatchError as error:
        yield BAD, "engine: auto", f"{error} -> {error.remedy}"


def _weights() -> Iterator[Finding]:
    from ocrbatch.models.registry import verify

    config = JobConfig()
    for name in (config.detection.model_name, config.recognition.model_name):
        try:
            verify(name)
            yield OK, name, "weights are here, SHA-256 as named"
        except OcrBatchError as error:
            yield BAD, name, f"{error} -> {error.remedy}"
