"""URIs as strings: schemes, joining, globs, redaction. Pure, but that `local_path` asks the disk how to read a `%`.

Invariant: a path of this disk has one spelling, absolute and without `..`, so that (uri, etag) names the same document
from whatever folder a run is started.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_MAGIC: Final = re.compile(r"[*?\[]")
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d+)?")
_BUCKET: Final = re.compile(r"arn:.*|[^:]*")
_SIGNED: Final = re.compile(
    r"\?(?:[^?]*&)?(?:X-(?:Amz|Goog)-[\w-]+|AWSAccessKeyId|GoogleAccessId|Signature|sig)=", re.IGNORECASE
)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
AZURE: Final = frozenset({"abfs", "abfss", "wasb", "wasbs"})
LOCAL: Final = frozenset({"", "file", "local"})
S3: Final = frozenset({"s3", "s3a", "s3n"})
HTTP: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or object as listed.

    uri: absolute path on disk, else the full URI. size: bytes, None where the server doesn't tell. mtime: UTC, None
    where the server doesn't tell, or the year is beyond 9999. etag: changes with the content: S3's ETag
    without quotes; on disk `{mtime in ns}-{size}`.
    """

    uri: str
    size: int | None
    mtime: datetime | None
    etag: str


def scheme(uri: str) -> str:
    """The lower-case scheme of a URI; "" for a plain path."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def is_writable(uri: str) -> bool:
    """Whether the scheme is one that outputs can have: this disk's or S3's."""
    return scheme(uri) in LOCAL | S3


def local_path(uri: str) -> Path | None:
    """The absolute path that a plain path or a `file://` URI names; None for every other scheme.

    `file://` URIs may be percent-encoded; a file that really has the per cent signs in its name is preferred, but where
    they stand for bytes that are no UTF-8, as `local_uri` writes them.
    """
    if scheme(uri) not in LOCAL:
        return None
    name = uri
    if found := _SCHEME.match(uri):
        name = "/" + uri[found.end() :].removeprefix("localhost/").lstrip("/")
        if "%" in name and (not _is_utf8(decoded := unquote_to_bytes(name)) or not os.path.lexists(name)):
            name = os.fsdecode(decoded)
    return Path(os.path.abspath(name))  # noqa: PTH100 - resolve() would follow symlinks, and so rename documents


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def local_uri(path: str) -> str:
    """A path of this disk as a URI: itself, or percent-encoded after `file://` where the name isn't valid UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(path))
    return path


def split_bucket(uri: str) -> tuple[str, str]:
    """(bucket, key) of an `s3://` URI; the key is taken literally, `?`, `#` and `%` included."""
    bucket, _, key = uri[len(scheme(uri)) + 3 :].partition("/")
    return bucket, key


def join(uri: str, *parts: str) -> str:
    """`uri/part/part`, whatever slashes the ends of each have."""
    cleaned = [piece for piece in (part.strip("/") for part in parts) if piece]
    if not cleaned:
        return uri
    base = uri.rstrip("/")
    if not base or base.endswith(":"):  # "", "/", "s3://", "file:///": these slashes are no separators
        return uri + "/".join(cleaned)
    return "/".join([base, *cleaned])


def without_user(uri: str) -> str:
    """The URI without its user part, which may hold credentials; also where there is a slash in the password.

    Names on disk have none. What stands before the @ in Azure's is the container. A bucket's name has neither @
    nor a colon, but a key may.
    """
    found, kind = _SCHEME.match(uri), scheme(uri)
    if found is None or kind in LOCAL:
        return uri
    rest = uri[found.end() :]
    authority = re.split("/" if kind in S3 else "[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if at:
        return uri if kind in AZURE and ":" not in user else found[0] + rest[len(user) + 1 :]
    if (_BUCKET if kind in S3 else _HOST).fullmatch(authority):
        return uri
    return found[0] + rest.rpartition("@")[2]


def without_credentials(uri: str) -> str:
    """The URI without its user part, and without a query that looks like a presigned URL's; names on disk have neither.

    Any other question mark stays: outside http it is a glob's, or the key's own.
    """
    return uri if scheme(uri) in LOCAL else _SIGNED.split(without_user(uri), maxsplit=1)[0]


def redact(uri: str) -> str:
    """The URI without its user part and its query string, which may hold credentials.

    Names on disk have neither, and a question mark in S3's belongs to the key, but for a presigned URL's.
    """
    if scheme(uri) in LOCAL | S3:
        return without_credentials(uri)
    return re.split(r"[?#]" if scheme(uri) in HTTP else r"\?", without_user(uri), maxsplit=1)[0]


def redact_text(text: str) -> str:
    """A free text, every URL in it redacted."""
    return _URL.sub(lambda match: redact(match[0]), text)


def has_magic(uri: str) -> bool:
    """Whether a URI has glob characters; in http URLs they mean something else."""
    return scheme(uri) not in HTTP and _MAGIC.search(uri) is not None


def before_magic(text: str) -> str:
    """What stands before the first glob character."""
    found = _MAGIC.search(text)
    return text[: found.start()] if found else text


def glob_regex(pattern: str, *, whole_folders: bool = False) -> re.Pattern[str]:
    """Compile a glob over a `/`-separated path.

    `*` and `?` stay inside one name, `**` crosses folders (`a/**/b` also matches `a/b`), `[a-z]` and `[!a-z]` are sets,
    none of them across a slash: such a bracket stands for itself, as in POSIX's fnmatch for paths.
    whole_folders: what lies below a matching folder matches too, as when a shell expands the pattern.
    """
    return re.compile(f"(?s:{_translated(pattern)}{'(?:/.*)?' if whole_folders else ''})\\Z")


def glob_folders(pattern: str) -> re.Pattern[str]:
    """The folders in or below which `glob_regex(pattern, whole_folders=True)` may match: all others need no visit."""
    names = pattern.split("/")
    deepest = next((i for i, name in enumerate(names) if "**" in name), len(names))
    regex = "(?:/.*)?"
    for i in reversed(range(deepest)):
        step = _translated(names[i]) + regex
        regex = step if i == 0 else f"(?:/{step})?"
    return re.compile(f"(?s:{regex if deepest else '.*'})\\Z")


def _set_end(pattern: str, start: int) -> int:
    """Where the set that may begin here ends, -1 where none does."""
    end = pattern.find("]", start + (3 if pattern.startswith("[!", start) else 2))
    return -1 if "/" in pattern[start:end] else end


def _translated(pattern: str) -> str:
    out, i = [], 0
    while i < len(pattern):
        char = pattern[i]
        if pattern.startswith("**/", i) and (i == 0 or pattern[i - 1] == "/"):
            out.append("(?:.*/)?")
            i += 3
        elif pattern.startswith("**", i):
            out.append(".*")
            i += 2
        elif char in "*?":
            out.append("[^/]*" if char == "*" else "[^/]")
            i += 1
        elif char == "[" and (end := _set_end(pattern, i)) > 0:
            members = re.sub(r"([\\\[\]^&~|])", r"\\\1", pattern[i + 1 : end])
            out.append(f"(?!/)[{'^' + members[1:] if members.startswith('!') else members}]")
            i = end + 1
        else:
            out.append(re.escape(char))
            i += 1
    return "".join(out)
