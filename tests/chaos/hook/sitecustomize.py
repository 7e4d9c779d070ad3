"""Put on PYTHONPATH, looks into every process of a run: counts the pages that are read, and makes poison work.

A page on which a worker finds lines is a byte in the file $OCRBATCH_CHAOS_COUNT, whether its row is ever committed or
not. A document that begins with `POISON:` and the name of a deed makes the decoder's process do it. Nothing is imported
here before the package does so itself.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

MARK = b"POISON:"


def count_pages(module: ModuleType) -> None:
    """Around `Reader.detect`, through which every page goes, in both layouts."""
    place, detect = os.environ.get("OCRBATCH_CHAOS_COUNT"), module.Reader.detect

    def counting(self: Any, images: Any) -> Any:
        if place:
            with open(place, "ab", buffering=0) as file:  # noqa: PTH123 - appended in one call, by several processes
                file.write(b"." * len(images))
        return detect(self, images)

    module.Reader.detect = counting


def swallow_poison(module: ModuleType) -> None:
    """Around the decoder's own opening of an image."""
    opened = module.ImagePages.__init__

    def poisoned(self: Any, path: Any, head: bytes, *rest: Any, **more: Any) -> None:
        if head.startswith(MARK):
            DEEDS[head.removeprefix(MARK).split()[0].decode()]()
        opened(self, path, head, *rest, **more)

    module.ImagePages.__init__ = poisoned


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(86_400)


def eat() -> None:
    """Memory without end, in pieces as an image decoder would ask for them."""
    held = []
    while True:
        held.append(b"x" * (16 << 20))


DEEDS: dict[str, Callable[[], None]] = {"crash": crash, "hang": hang, "eat": eat}
PATCHES = {"ocrbatch.reading.reader": count_pages, "ocrbatch.documents.image": swallow_poison}


class Patching(Loader):
    """A module's own loader, and then its patch."""

    def __init__(self, loader: Loader, patch: Callable[[ModuleType], None]) -> None:
        self.loader, self.patch = loader, patch

    def create_module(self, spec: Any) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.patch(module)


class Finder(MetaPathFinder):
    """Finds the modules that are patched, once each."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        patch = PATCHES.pop(name, None)
        spec = importlib.util.find_spec(name) if patch else None
        if spec is None or spec.loader is None or patch is None:
            return None
        spec.loader = Patching(spec.loader, patch)
        return spec


sys.meta_path.insert(0, Finder())
