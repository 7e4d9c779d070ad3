"""Text of others on a terminal: names of files, and messages that quote them."""

from __future__ import annotations

import re
from typing import Final

# Control characters, ends of lines, what turns the direction of writing, and the surrogates that stand for bytes.
_ACTIVE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(line: str) -> str:
    r"""The line with what could steer a terminal, or begin a new line, as Python writes it: `\x1b`, `\n`, `\udce9`."""
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape").decode(), line)
