"""Put on PYTHONPATH, looks into every process of a run: counts what it does, makes poison work, kills it at a call.

A page on which a worker finds lines is a byte in the file $OCRBATCH_CHAOS_COUNT, whether its row is ever committed or
not. A mutating call of the storage is a byte in $OCRBATCH_CHAOS_CALLS; the process that makes the call whose number
stands in the file of that name and `.kill` is killed, before it or `after` it. A document that begins with `POISON:`
and the name of a deed makes the decoder's process do it. Nothing is imported here before the package does so itself.
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


def stumble(module: ModuleType) -> None:
    """Around each call of `Storage` that changes anything."""
    place = os.environ.get("OCRBATCH_CHAOS_CALLS")

    def stumbling(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            number, (meant, when) = append(place or os.devnull), orders(f"{place}.kill")
            if number == meant and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **named)
            if number == meant:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for name in MUTATING if place else ():
        setattr(module.Storage, name, stumbling(getattr(module.Storage, name)))


def append(place: str) -> int:
    """One more byte in a file that several processes append to; gives its number, from 0."""
    with open(place, "ab", buffering=0) as file:  # noqa: PTH123
        file.write(b".")
        return file.tell() - 1


def orders(place: str) -> tuple[int, str]:
    """At which call to die, `before` or `after` it."""
    try:
        with open(place, encoding="ascii") as file:  # noqa: PTH123
            number, when = file.read().split()
    except FileNotFoundError:
        return -1, ""
    return int(number), when


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
MUTATING = ("put", "put_if_absent", "copy_if_absent", "delete")
PATCHES = {
    "ocrbatch.reading.reader": count_pages,
    "ocrbatch.documents.image": swallow_poison,
    "ocrbatch.storage.store": stumble,
}


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
