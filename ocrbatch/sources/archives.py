"""Containers: what is in a zip, a tar or a Parquet file, and the bytes of one member.

Invariant: a list of members is whole, or it is an error; whatever a damaged or hostile archive makes a reader raise
becomes one DocumentError.

A container is known by its suffix, and only what lies beside other documents is one: an archive inside an archive is a
file like any other. All is read by ranges, so nothing is copied to this disk but the member that is asked for.

Left out on purpose: folders, links and devices in archives; the earlier of two members with one name, as tar and unzip
do it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from contextlib import closing
from typing import IO, Final, cast

import pyarrow as pa

from ocrbatch.errors import DiskFullError, DocumentError
from ocrbatch.sources.members import Archive, Member, plain, printable
from ocrbatch.sources.parquet_rows import ParquetRows
from ocrbatch.storage import Entry, Storage, open_file, redact
from ocrbatch.storage.faults import FULL

# A compressed tar that unpacks to more than this is a bomb; scans of plain white reach about 100.
_MAX_RATIO: Final = 300
_MIN_BUDGET: Final = 1 << 30
# tarfile takes a header's word for how much to read at once; true headers are a few kB.
_MAX_TAR_READ: Final = 32 << 20
_TAR_TAIL: Final = 1 << 20  # zeros fill an archive up to whole records, of 10 KiB as a rule

# Everything that the readers below raise on damaged data. OSError has an errno only if the system raised it.
BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    pa.ArrowException,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,  # an encrypted member; NotImplementedError for a compression that Python lacks
    OSError,
)


def open_archive(entry: Entry, storage: Storage, bytes_column: str | None = None) -> Archive:
    """Opens the container, by its suffix. Raises StorageError, DocumentError or one of BROKEN."""
    file = open_file(entry, storage)
    kind = entry.uri.lower()
    try:
        if kind.endswith(".zip"):
            return _Zip(file)
        return ParquetRows(file, bytes_column) if kind.endswith(".parquet") else _Tar(file)
    except BaseException:
        file.close()
        raise


def list_members(entry: Entry, storage: Storage, bytes_column: str | None = None) -> list[Member]:
    """The members of one container, each name once; the last of a name wins.

    Raises DocumentError ARCHIVE_BROKEN when any of it can't be read (never half a list), StorageError.
    """
    try:
        with closing(open_archive(entry, storage, bytes_column)) as archive:
            found = {m.name: m for m in archive.members()}
    except BROKEN as error:
        raise broken(entry.uri, error) from error
    return list(found.values())


def broken(uri: str, error: BaseException) -> DocumentError | DiskFullError:
    """The failure that a damaged archive or member becomes; DiskFullError where there is no room to unpack it."""
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno in FULL:
            return DiskFullError(
                f"no room to unpack {redact(uri)}: the disk or the quota is full",
                "Free space in the workers' temporary folder, or set TMPDIR, then run the same command again.",
            )
        code = "FETCH_FAILED"
        if isinstance(error, FileNotFoundError | PermissionError):
            code = "FETCH_NOT_FOUND" if isinstance(error, FileNotFoundError) else "FETCH_DENIED"
        return DocumentError(code, f"{redact(uri)}: {error.strerror}")
    cause = printable(str(error)).strip().splitlines()
    return DocumentError("ARCHIVE_BROKEN", f"{redact(uri)}: {cause[0][:300] if cause else type(error).__name__}")


class _Zip:
    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self._zip = file, zipfile.ZipFile(file)
        self._by_place = {f"{i.header_offset:x}": i for i in self._zip.infolist()}

    def members(self) -> list[Member]:
        found = []
        for info in sorted(self._zip.infolist(), key=lambda i: i.header_offset):
            mode = info.external_attr >> 16
            if info.is_dir() or (info.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
                continue
            found.append(Member(plain(info.filename), f"{info.header_offset:x}", info.file_size))
        return found

    def open(self, place: str) -> IO[bytes]:
        return self._zip.open(self._by_place[place])

    def close(self) -> None:
        self._zip.close()
        self._file.close()


class _Bounded:
    """The file under a TarFile: refuses what only a bomb would ask for."""

    def __init__(self, file: IO[bytes], budget: int) -> None:
        self._file, self._budget = file, budget

    def read(self, size: int) -> bytes:
        if size > _MAX_TAR_READ:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        if offset > self._budget:
            raise tarfile.ReadError(f"it unpacks to more than {_MAX_RATIO} times its size")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


class _Tar:
    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        magic = file.peek(6)[:6]
        # By content: many a .tar is compressed and many a .tgz is not.
        self._plain: IO[bytes] = file
        if magic.startswith(b"\x1f\x8b"):
            self._plain = cast(IO[bytes], gzip.GzipFile(fileobj=file))
        elif magic.startswith(b"BZh"):
            self._plain = bz2.BZ2File(file)
        elif magic.startswith(b"\xfd7zXZ\x00"):
            self._plain = lzma.LZMAFile(file)  # noqa: SIM115 (closed by close)
        budget = max(_MIN_BUDGET, _MAX_RATIO * size)
        bounded = cast(IO[bytes], _Bounded(self._plain, sys.maxsize if self._plain is file else budget))
        self._tar = tarfile.open(fileobj=bounded, mode="r:", errors="surrogateescape")  # noqa: SIM115

    def members(self) -> list[Member]:
        found = []
        while (info := self._tar.next()) is not None:
            self._tar.members = []  # type: ignore[attr-defined]  # else it keeps every header, 1 kB each
            if info.isfile():
                found.append(Member(plain(info.name), f"{info.offset:x}", info.size))
        self._check_end(self._tar.offset)
        return found

    def _check_end(self, at: int) -> None:
        """tarfile takes a damaged header, and the end of what was cut off, for the end: that is a block of zeros."""
        self._plain.seek(at)
        end = self._plain.read(tarfile.BLOCKSIZE)
        if len(end) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it ends at byte {at} without the mark of its end: it may be cut off")
        if end.strip(b"\0"):
            raise tarfile.ReadError(f"damaged header at byte {at}")
        if self._plain.read(_TAR_TAIL).strip(b"\0"):
            raise tarfile.ReadError(f"more follows its end at byte {at}: it may be two archives in one file")

    def open(self, place: str) -> IO[bytes]:
        self._plain.seek(int(place, 16))
        info = tarfile.TarInfo.fromtarfile(self._tar)  # with the headers of long names that stand before it
        stream = self._tar.extractfile(info) if info.isfile() else None
        if stream is None:
            raise tarfile.ReadError(f"no file at byte {int(place, 16)}")
        return stream

    def close(self) -> None:
        self._tar.close()
        if self._plain is not self._file:
            self._plain.close()
        self._file.close()
