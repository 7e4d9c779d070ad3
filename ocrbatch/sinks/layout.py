"""Where things lie below OUTPUT, as paths relative to it, and how hive partitions are spelt.

Invariant: what a plain reader lists (pages/, failures/) holds published parts only; all else is under _ocrbatch/.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal
from uuid import uuid4

from ocrbatch.errors import UsageError

Kind = Literal["pages", "failures"]

KINDS: Final[tuple[Kind, ...]] = ("pages", "failures")
LOG: Final = "_ocrbatch/log"
STAGING: Final = "_ocrbatch/staging"
LEASES: Final = "_ocrbatch/lease"
PROBE: Final = "_ocrbatch/probe"
CHECKPOINTS: Final = "_ocrbatch/checkpoints"
BOOKMARK: Final = f"{CHECKPOINTS}/last.json"

# FileUtils.escapePathName of Apache Hive: these characters become %XX, everything else stays.
_HIVE_ESCAPED: Final = re.compile(r"[\x00-\x1f\x7f\"#%'*/:=?\\{\[\]^]")
_HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_VALUE_BYTES: Final = 180  # with its key it stays below the 255 that a name on a disk may have
_SHARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MERGED: Final = "merged-"
_RECORD: Final = re.compile(r"(\d{12,})\.json", re.ASCII)
_FINAL: Final = re.compile(r"part-\d{12,}\.parquet")


def log_path(n: int) -> str:
    """The log's record `n`, from 0."""
    return f"{LOG}/{n:012d}.json"


def record_number(name: str) -> int:
    """The n of a record's file name; -1 for one that is no record's."""
    found = _RECORD.fullmatch(name)
    return int(found[1]) if found else -1


def checkpoint_path(n: int, sha256: str) -> str:
    """The file with what the records 0 .. n-1 add up to. sha256: of its bytes, so no two files share a name."""
    return f"{CHECKPOINTS}/{n:012d}-{sha256[:16]}.parquet"


def checkpoint_number(path: str) -> int:
    """The inverse of `checkpoint_path`; -1 for a path that is none."""
    number, dash, _ = path.removeprefix(f"{CHECKPOINTS}/").partition("-")
    return int(number) if dash and number.isascii() and number.isdigit() else -1


def staging_folder(epoch: int) -> str:
    """The folder of one epoch's staged files."""
    return f"{STAGING}/{epoch:012d}"


def staged_path(epoch: int) -> str:
    """A new name for a staged file."""
    return f"{staging_folder(epoch)}/{uuid4().hex}.parquet"


def merged_path(epoch: int) -> str:
    """A new name for a merge that waits to be published; its rows are also in the files it was made of."""
    return f"{staging_folder(epoch)}/{_MERGED}{uuid4().hex}.parquet"


def final_path(kind: Kind, partition: str, n: int) -> str:
    """The part that the log's record `n` publishes."""
    return "/".join(filter(None, (kind, partition, f"part-{n:012d}.parquet")))


def is_final_part(path: str) -> bool:
    """Whether a file is named as `final_path` names parts."""
    return _FINAL.fullmatch(path.rpartition("/")[2]) is not None


def lease_path(shard: str) -> str:
    """The lease of a shard. Raises UsageError for a name that can't be a file's."""
    if not _SHARD.fullmatch(shard):
        raise UsageError(f"{shard!r} can't name a shard", "Use letters, digits, dots, dashes and underscores.")
    return f"{LEASES}/{shard}.json"


def epoch_of(staged: str) -> int:
    """The epoch that a path below staging/ belongs to; -1, which none is, where the path is not one of ours."""
    folder = staged.removeprefix(f"{STAGING}/").partition("/")[0]
    return int(folder) if folder.isascii() and folder.isdigit() else -1


def is_staged_part(staged: str) -> bool:
    """False for merges and for what a torn write left: their rows are elsewhere, or nowhere."""
    name = staged.rpartition("/")[2]
    return name.endswith(".parquet") and not name.startswith((_MERGED, ".", "_"))


def below(uri: str, folder: str) -> str:
    """`folder/...`, the tail of a listed URI: a listing may spell the output's own address in another way.

    The last occurrence counts. It is the right one: below `folder` there are only epochs, `key=value` and file names.
    """
    _, found, tail = f"/{uri}".rpartition(f"/{folder}/")
    if not found:
        raise ValueError(f"{uri} is not below {folder}/")
    return f"{folder}/{tail}"


def hive_partition(values: Mapping[str, str | None]) -> str:
    """`dt=2026-11-20/site=a%2Fb`: the folder of rows with these values, in the mapping's order; '' for none.

    A value that disks can't name (255 bytes) is cut, and ends in a hash of the whole.
    """
    return "/".join(f"{_escape(key)}={_value(value) if value else _HIVE_NULL}" for key, value in values.items())


def _value(text: str) -> str:
    escaped = _escape(text)
    if len(escaped.encode()) <= _VALUE_BYTES:
        return escaped
    start = text.encode()[: _VALUE_BYTES // 3 - 16].decode(errors="ignore")  # a byte may become three
    return f"{_escape(start)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _escape(text: str) -> str:
    return _HIVE_ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)
