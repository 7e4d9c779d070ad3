"""Members of containers: what they are called, and what an open container can do.

Invariant: a member's name is only ever a label. It is part of the URI (`scans.zip!/a/b.png`) and never of a path on
disk.

A member's etag is its archive's etag and, after the last dash, its place in there (the offset of its header in hex, or
column.row), so it changes with the archive and leads straight to the bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, Final, Protocol

_SUFFIXES: Final = r"\.(?:zip|tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz|parquet)"
_CONTAINER: Final = re.compile(_SUFFIXES + r"$", re.IGNORECASE)
_MEMBER: Final = re.compile(_SUFFIXES + r"(?=!/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive. place: where it is, a short text without a dash. size: bytes unpacked, if known."""

    name: str
    place: str
    size: int | None


def is_container(uri: str) -> bool:
    """Whether the name is that of a zip, a tar (plain, gz, bz2, xz) or a Parquet file."""
    return _CONTAINER.search(uri) is not None


def split_member(uri: str) -> tuple[str, str | None]:
    """(`s3://lake/a.zip`, `x/1.png`) of `s3://lake/a.zip!/x/1.png`; (uri, None) of any other."""
    found = _MEMBER.search(uri)
    return (uri[: found.end()], uri[found.end() + 2 :]) if found else (uri, None)


def split_etag(etag: str) -> tuple[str, str]:
    """(etag of the archive, place of the member in it) of a member's etag."""
    archive, _, place = etag.rpartition("-")
    return archive, place


def printable(name: str) -> str:
    """The name as valid Unicode: a byte that isn't UTF-8 becomes `\\udcXX`, the same each time."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(name: str) -> str:
    """`./a.png` and `a.png` are one path; anything else (`/a`, `../a`) keeps its name, which is only a label."""
    return printable(name.removeprefix("./"))


class Archive(Protocol):
    """An open container. Not thread-safe."""

    def members(self) -> list[Member]:
        """All files in it, in the order in which they lie there. Raises one of BROKEN or DocumentError."""

    def open(self, place: str) -> IO[bytes]:
        """A stream over one member's bytes, unpacked. Raises one of BROKEN."""

    def close(self) -> None:
        """Lets go of the file."""
