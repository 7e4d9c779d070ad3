"""Patterns of `include` and `exclude`, and what a file's name says. Pure: no storage is asked.

Invariant: `*`, `?` and `[...]` never match a slash, `**` does, so a pattern means the same on disk and in a bucket.

A pattern is compared, case by case, as in a .gitignore:

- without a slash (`*.png`, `drafts`) with every name on the path: the file's own, and those of the folders and archives
  above it;
- with a slash (`2024/*.pdf`, `/a.png`, `**/raw/*`) with the path below the root that was given;
- where it matches a folder or an archive, it matches everything below. An archive is a folder: `scans.zip/*.png` and
  `scans.zip!/*.png` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ocrbatch.errors import UsageError
from ocrbatch.storage.uris import before_magic, glob_regex

# Suffixes of files that lie beside scans without being any. Content decides first: a PNG called notes.txt is read.
_SUFFIXES: Final = """
    json jsonl ndjson geojson csv tsv psv txt text md rst html htm xhtml mhtml xml xsl xsd yaml yml toml ini cfg conf
    properties log lock pid crc md5 sha1 sha256 sha512 sum asc sig pem crt
    py pyc ipynb js mjs ts css scss java class jar c h cc cpp hpp rs go rb php pl r sh bash bat ps1 sql
    srt vtt hocr alto rtf tex bib eml msg ics vcf db sqlite sqlite3 avro orc arrow feather npy npz pkl pickle pt pth
    onnx mp3 wav flac ogg m4a mp4 mkv mov avi webm
"""
_NAMES: Final = """
    .ds_store thumbs.db desktop.ini _success _started _committed _temporary _metadata _common_metadata .gitkeep
    .gitignore .gitattributes .keep .directory readme license licence notice changelog makefile dockerfile
"""
_OTHER_SUFFIXES: Final = frozenset(_SUFFIXES.split())
_OTHER_NAMES: Final = frozenset(_NAMES.split())


def named_otherwise(uri: str) -> bool:
    """Whether the name says that this is no document: `labels.json`, `.DS_Store`, `_SUCCESS`, `._scan.png` ...

    Such a file, when its content is no document either, is ignored and counted; any other unknown file is a failure.
    """
    name = uri.rstrip("/").rsplit("/", 1)[-1].lower()
    stem, dot, suffix = name.rpartition(".")
    # AppleDouble files (`._x.png`) carry the name of a picture and hold a resource fork.
    return name in _OTHER_NAMES or name.startswith("._") or (bool(dot and stem) and suffix in _OTHER_SUFFIXES)


def split_glob(uri: str) -> tuple[str, str]:
    """Cuts `s3://lake/in/2024-*/x.png` into the last folder that is plain, `s3://lake/in/`, and `2024-*/x.png`."""
    cut = uri.rfind("/", 0, len(before_magic(uri))) + 1
    return uri[:cut], uri[cut:]


def compile_glob(pattern: str, *, written: str | None = None) -> re.Pattern[str]:
    """`storage.glob_regex`, what lies below a match included.

    written: the pattern as the user wrote it, for the error. Raises UsageError for a set that is none, as `[z-a]`.
    """
    try:
        return glob_regex(pattern.rstrip("/"), whole_folders=True)
    except re.error as error:
        message = f"the pattern {(written or pattern)!r} is not valid: {error.msg}"
        raise UsageError(message, "Write [[] for a bracket itself.") from error


def _compile_rule(pattern: str) -> re.Pattern[str]:
    body = pattern.rstrip("/").replace("!/", "/")
    return compile_glob(body.removeprefix("/") if "/" in body else "**/" + body, written=pattern)


@dataclass(frozen=True, slots=True)
class Filter:
    """`include` and `exclude`, compiled. Keeps a path that some include matches (or there is none) and no exclude."""

    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, include: Iterable[str], exclude: Iterable[str]) -> Filter:
        """Compiles the patterns of a config."""
        return cls(tuple(map(_compile_rule, include)), tuple(map(_compile_rule, exclude)))

    def drops(self, path: str) -> bool:
        """Whether an exclude matches: then an archive needn't be opened at all."""
        return _matches(self.exclude, path)

    def keeps(self, path: str) -> bool:
        """path: below the given root, with slashes; a member is `folder/scans.zip!/a/b.png`."""
        return (not self.include or _matches(self.include, path)) and not self.drops(path)


def _matches(patterns: tuple[re.Pattern[str], ...], path: str) -> bool:
    return bool(patterns) and any(p.match(path.replace("!/", "/")) for p in patterns)
