"""How parent and child talk: a JSON header behind its length, pixels behind the header.

A page's pixels follow its header as exactly width * height * 3 bytes. Once the header is out, the only thing that can
go wrong is the child's death, which the parent sees as the end of the stream.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO, Final

PREFIX: Final = struct.Struct("<I")
MAX_HEADER: Final = 1 << 24

EXIT_MEMORY: Final = 70
"""Exit status of a child that ran out of memory where it could not say so."""


def pack(message: dict[str, Any]) -> bytes:
    """A header, ready to send. Lone surrogates (file names that are not UTF-8) survive as JSON escapes."""
    body = json.dumps(message).encode("ascii")
    return PREFIX.pack(len(body)) + body


def unpack(body: bytes) -> dict[str, Any]:
    """The header in `body` (without its length). Raises ValueError if it is none."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("a header must be an object")  # noqa: TRY004 (one kind of error for one kind of damage)
    return message


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """The next header of a blocking stream; None at its end."""
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    (size,) = PREFIX.unpack(prefix)
    body = stream.read(size)
    return unpack(body) if len(body) == size else None
