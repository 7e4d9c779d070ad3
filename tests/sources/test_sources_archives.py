"""Members of zip, tar and Parquet files, read from this disk and by ranges."""

from __future__ import annotations

import functools
import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import S3Server
from sources_containers import FILES, LIMITS, Put, PutMemory, failing, tar_bytes, zip_bytes

from ocrbatch.config import DocumentsConfig, InputConfig
from ocrbatch.errors import DocumentError, StorageError
from ocrbatch.records import Document
from ocrbatch.sources import fetching
from ocrbatch.sources.archives import list_members
from ocrbatch.sources.fetching import fetch, fetched
from ocrbatch.sources.listing import documents
from ocrbatch.sources.members import Member, is_container, split_etag, split_member
from ocrbatch.storage import Storage
from ocrbatch.storage.ranges import BLOCK_BYTES, RangeFile

CONTAINERS = {
    "plain.zip": zip_bytes(FILES),
    "stored.ZIP": zip_bytes(FILES, zipfile.ZIP_STORED),
    "plain.tar": tar_bytes(FILES),
    "gnu.tar": tar_bytes(FILES, form=tarfile.GNU_FORMAT),
    "packed.tar.gz": tar_bytes(FILES, "w:gz"),
    "packed.tgz": tar_bytes(FILES, "w:gz"),
    "packed.tar.bz2": tar_bytes(FILES, "w:bz2"),
    "packed.tar.xz": tar_bytes(FILES, "w:xz"),
    "misnamed.tar": tar_bytes(FILES, "w:gz"),
}


def listed(storage: Storage, *uris: Path | str, **config: Any) -> list[Document]:
    return list(documents(InputConfig(uris=tuple(map(str, uris)), **config), storage))


def bodies(storage: Storage, found: list[Document], folder: Path) -> dict[str, bytes]:
    out = {}
    for document in found:
        with fetched(document, storage, folder, LIMITS) as path:
            out[document.uri] = path.read_bytes()
    return out


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("remote", [False, True])
def test_members(name: str, remote: bool, storage: Storage, put_memory: PutMemory, put: Put, tmp_path: Path) -> None:
    uri = str(put(name, CONTAINERS[name]))
    if remote:
        uri = f"memory://archives/{name}"
        put_memory(uri, CONTAINERS[name])
    found = listed(storage, uri)
    assert [d.uri for d in found] == [f"{uri}!/{n}" for n in FILES]
    assert [d.size for d in found] == [len(b) for b in FILES.values()]
    etag = storage.stat(uri).etag
    assert {split_etag(d.etag)[0] for d in found} == {etag}
    assert len({d.etag for d in found}) == len(found)
    assert bodies(storage, found, tmp_path) == {f"{uri}!/{n}": b for n, b in FILES.items()}
    # In any order, and by a process that has not listed it.
    fetching._cache.clear()
    assert bodies(storage, found[::-1], tmp_path) == {f"{uri}!/{n}": b for n, b in FILES.items()}
    assert list(tmp_path.glob("fetched-*")) == []


def test_names() -> None:
    assert split_member("s3://lake/a.zip!/x/1.png") == ("s3://lake/a.zip", "x/1.png")
    assert split_member("/data/wow!/x.png") == ("/data/wow!/x.png", None)
    assert split_member("/data/a.tar.gz!/b.zip!/c") == ("/data/a.tar.gz", "b.zip!/c")
    assert split_member("/data/a.zip") == ("/data/a.zip", None)
    assert is_container("x.TGZ")
    assert not is_container("x.gz")
    assert not is_container("zip")


def test_unsafe_names_are_only_labels(storage: Storage, put: Put, tmp_path: Path) -> None:
    files = {"../../evil.png": b"1", "/etc/evil.png": b"2", "./plain.png": b"3", "a/../../evil.png": b"4"}
    inner = tmp_path / "out"
    inner.mkdir()
    for name, body in {"a.zip": zip_bytes(files), "a.tar": tar_bytes(files)}.items():
        uri = put(name, body)
        found = listed(storage, uri)
        assert bodies(storage, found, inner) == {
            f"{uri}!/../../evil.png": b"1",
            f"{uri}!//etc/evil.png": b"2",
            f"{uri}!/plain.png": b"3",
            f"{uri}!/a/../../evil.png": b"4",
        }
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar", "a.zip", "out"]


def test_links_and_devices_are_left_out(storage: Storage, put: Put) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"x{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("real.png"))
    assert [d.uri.rpartition("!/")[2] for d in listed(storage, put("a.tar", out.getvalue()))] == ["real.png"]
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("real.png", b"")
    assert [d.uri.rpartition("!/")[2] for d in listed(storage, put("a.zip", out.getvalue()))] == ["real.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_of_a_name_wins(storage: Storage, put: Put, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for body in (b"old", b"other", b"new"):
            archive.writestr("o.png" if body == b"other" else "a.png", body)
    again = io.BytesIO()
    with tarfile.open(fileobj=again, mode="w") as tar:
        for body in (b"old", b"new"):
            info = tarfile.TarInfo("./a.png" if body == b"old" else "a.png")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    zip_uri, tar_uri = put("a.zip", out.getvalue()), put("a.tar", again.getvalue())
    found = bodies(storage, listed(storage, zip_uri, tar_uri), tmp_path)
    assert found == {f"{zip_uri}!/a.png": b"new", f"{zip_uri}!/o.png": b"other", f"{tar_uri}!/a.png": b"new"}


BROKEN = {
    "empty.zip": b"",
    "noise.zip": b"this is no archive" * 100,
    "cut.zip": CONTAINERS["plain.zip"][:-30],
    "empty.tar": b"",
    "noise.tar": bytes(range(256)) * 20,
    "cut.tar": CONTAINERS["plain.tar"][:8000],
    "damaged.tar": CONTAINERS["plain.tar"][:2048] + b"\xff" * 512 + CONTAINERS["plain.tar"][2560:],
    "cut.tar.gz": CONTAINERS["packed.tar.gz"][:-100],
    "cut.tar.bz2": CONTAINERS["packed.tar.bz2"][:-50],
    "cut.tar.xz": CONTAINERS["packed.tar.xz"][:-50],
    "noise.parquet": b"PAR1" + b"\0" * 100 + b"PAR1",
    "empty.parquet": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_is_one_failure(name: str, storage: Storage, put: Put, tmp_path: Path) -> None:
    put("in/before.png", b"1")
    put("in/zz.png", b"2")
    uri = put(f"in/{name}", BROKEN[name])
    found = listed(storage, tmp_path / "in")
    assert sorted(d.uri for d in found) == sorted(
        [str(tmp_path / "in/before.png"), str(uri), str(tmp_path / "in/zz.png")]
    )
    broken = next(d for d in found if d.uri == str(uri))
    assert broken.etag == storage.stat(str(uri)).etag
    error = failing(storage, broken, tmp_path)
    assert error.code.code == "ARCHIVE_BROKEN"
    assert str(uri) in str(error)


@pytest.mark.parametrize(("suffix", "pack"), [(".tar", bytes), (".tar.gz", gzip.compress)])
def test_a_tar_that_ends_too_early_or_too_late(
    suffix: str, pack: Callable[[bytes], bytes], storage: Storage, put: Put
) -> None:
    def listed_at(path: Path) -> list[Member]:
        return list_members(storage.stat(str(path)), storage)

    whole = tar_bytes({"a.png": b"a", "b.png": b"b"}, form=tarfile.USTAR_FORMAT)
    assert [member.name for member in listed_at(put(f"whole{suffix}", pack(whole)))] == ["a.png", "b.png"]
    blocks = whole.rstrip(b"\0")
    cut = whole[: -(-len(blocks) // 512) * 512]  # between b's bytes and the mark
    for name, body, said in (("cut", cut, "cut off"), ("two", whole + whole, "two archives in one file")):
        with pytest.raises(DocumentError, match=said) as caught:
            listed_at(put(name + suffix, pack(body)))
        assert caught.value.code.code == "ARCHIVE_BROKEN"


def test_damage_in_one_member(storage: Storage, put: Put, tmp_path: Path) -> None:
    body = bytearray(zip_bytes({"a.png": b"a" * 1000, "b.png": b"b" * 1000}, zipfile.ZIP_STORED))
    body[body.index(b"a" * 1000) + 500] = 0
    bad, good = listed(storage, put("a.zip", bytes(body)))
    assert failing(storage, bad, tmp_path).code.code == "ARCHIVE_BROKEN"
    assert bodies(storage, [good], tmp_path) == {good.uri: b"b" * 1000}


def test_encrypted_member(storage: Storage, put: Put, tmp_path: Path) -> None:
    body = bytearray(zip_bytes({"a.png": b"secret"}))
    body[body.index(b"PK\1\2", body.index(b"PK\1\2") + 4) + 8] |= 1
    local = body.index(b"PK\3\4", 10)
    body[local + 6] |= 1
    (document,) = listed(storage, put("a.zip", bytes(body)))
    error = failing(storage, document, tmp_path)
    assert error.code.code == "ARCHIVE_BROKEN"
    assert "encrypted" in str(error)


def test_bombs_are_bounded(storage: Storage, put: Put, tmp_path: Path) -> None:
    limits = DocumentsConfig(max_bytes=1 << 20)
    honest = zip_bytes({"a.png": b"\0" * (5 << 20)})
    (document,) = listed(storage, put("honest.zip", honest))
    assert failing(storage, document, tmp_path, limits).code.code == "FILE_TOO_LARGE"
    lying = bytearray(honest)
    at = lying.rindex(b"PK\1\2") + 24
    lying[at : at + 4] = struct.pack("<I", 100)  # claims 100 bytes
    (document,) = listed(storage, put("lying.zip", bytes(lying)))
    assert document.size == 100
    assert failing(storage, document, tmp_path, limits).code.code in ("ARCHIVE_BROKEN", "FILE_TOO_LARGE")
    (document,) = listed(storage, put("a.tgz", tar_bytes({"a.png": b"\0" * (5 << 20)}, "w:gz")))
    assert failing(storage, document, tmp_path, limits).code.code == "FILE_TOO_LARGE"


def test_a_header_that_claims_gigabytes(storage: Storage, put: Put) -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    body = info.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 4096
    uri = put("a.tar", body)
    with pytest.raises(DocumentError) as caught:
        list_members(storage.stat(str(uri)), storage)
    assert caught.value.code.code == "ARCHIVE_BROKEN"


def test_changed_since_listed(storage: Storage, put: Put, tmp_path: Path) -> None:
    uri = put("a.zip", zip_bytes({"a.png": b"1"}))
    (document,) = listed(storage, uri)
    put("a.zip", zip_bytes({"b.png": b"22222", "a.png": b"1"}))
    error = failing(storage, document, tmp_path)
    assert error.code.code == "FETCH_CHANGED"
    assert "a.zip was replaced" in str(error)
    uri.unlink()
    assert failing(storage, document, tmp_path).code.code == "FETCH_NOT_FOUND"


def test_only_two_archives_stay_open(storage: Storage, put: Put, tmp_path: Path) -> None:
    found = [d for i in range(5) for d in listed(storage, put(f"{i}.zip", zip_bytes({"a": bytes([i])})))]
    for _ in range(2):
        assert [*bodies(storage, found, tmp_path).values()] == [bytes([i]) for i in range(5)]
        assert len(fetching._cache) == 2


def drawn(seed: int) -> dict[str, bytes]:
    """Twenty members, which no one request and no one batch of rows holds."""
    return {f"{i:02}.png": random.Random(20 * seed + i).randbytes(BLOCK_BYTES // 10) for i in range(20)}


@functools.cache
def archive(kind: str, seed: int) -> bytes:
    files = drawn(seed)
    if kind == "parquet":
        return parquet(pa.table({"content": list(files.values())}), 1)
    return zip_bytes(files, zipfile.ZIP_STORED) if kind == "zip" else tar_bytes(files, "w:gz" if "gz" in kind else "w")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "parquet"])
@pytest.mark.parametrize("place", ["disk", "memory", pytest.param("s3", marks=pytest.mark.s3)])
@pytest.mark.parametrize("shorter", [False, True])
def test_no_member_is_of_another_version_than_the_listed_one(
    kind: str, place: str, shorter: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """An archive that is replaced between two members, by one whose members lie at the same places."""
    storage, uri = Storage(), str(tmp_path / f"x.{kind}")
    if place == "memory":
        uri = f"memory://{tmp_path.name}/x.{kind}"
    elif place == "s3":
        server: S3Server = request.getfixturevalue("seaweed")
        storage, uri = Storage(server.config()), f"s3://{server.bucket()}/x.{kind}"

    def write(body: bytes) -> None:
        if place == "memory":
            fsspec.filesystem("memory").pipe_file(uri, body)
        elif place == "s3":
            storage.put(uri, body)
        else:
            Path(uri).write_bytes(body)  # in place, as cp does it

    write(archive(kind, 0))
    found = listed(storage, uri)
    assert bodies(storage, found[:1], tmp_path)[found[0].uri] == drawn(0)["00.png"]
    new = archive(kind, 1)
    write(new[: len(new) // 2 if shorter else None])
    for document, wanted in zip(found[1:], [*drawn(0).values()][1:], strict=True):
        try:
            assert bodies(storage, [document], tmp_path)[document.uri] == wanted  # had been read before
        except DocumentError as error:
            assert error.code.code == "FETCH_CHANGED"
    assert failing(storage, found[-1], tmp_path).code.code == "FETCH_CHANGED"


def test_range_file(storage: Storage, put_memory: PutMemory) -> None:
    body = bytes(range(256)) * 50
    put_memory("memory://ranges/x", body)
    raw = RangeFile(storage, "memory://ranges/x", len(body))
    file = io.BufferedReader(raw, 1000)
    file.seek(-10, io.SEEK_END)
    assert file.read() == body[-10:]
    assert file.read() == b""
    file.seek(300)
    assert file.read(5000) == body[300:5300]
    assert file.tell() == 5300
    file.seek(10**9)
    assert file.read(1) == b""
    with pytest.raises(ValueError, match="before the start"):
        raw.seek(-1)
    longer = RangeFile(storage, "memory://ranges/x", len(body) + 1)  # as if it had been cut since it was listed
    with pytest.raises(StorageError, match="bytes came"):
        longer.readall()


# Parquet


def parquet(table: pa.Table, rows: int = 7) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=rows)
    return out.getvalue()


ROWS = [bytes([i]) * (i * 10) for i in range(40)]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = [f"p/{i}.png" for i in range(40)]
NUMBERS = [f"row-{i:08d}" for i in range(40)]


@pytest.mark.parametrize(
    ("columns", "bytes_column", "expected"),
    [
        ({"content": pa.array(ROWS)}, None, NUMBERS),
        (
            {"n": pa.array(range(40)), "content": pa.array(ROWS, pa.large_binary()), "name": pa.array(NAMES)},
            None,
            NAMES,
        ),
        ({"content": pa.array(ROWS), "name": pa.array(["same"] * 40)}, None, NUMBERS),  # not unique
        ({"content": pa.array(ROWS), "name": pa.array([None, *NAMES[1:]])}, None, NUMBERS),  # not everywhere
        ({"content": pa.array(ROWS), "name": pa.array(["same"] * 40), "url": pa.array(NAMES)}, None, NAMES),
        ({"thumb": pa.array(ROWS[::-1]), "content": pa.array(ROWS)}, "content", NUMBERS),
        (
            {
                "label": pa.array(range(40)),
                "image": pa.array([{"bytes": b, "path": n} for b, n in zip(ROWS, NAMES, strict=True)], STRUCT),
            },
            None,
            NAMES,
        ),
        (
            {"image": pa.array([{"bytes": b, "path": None} for b in ROWS], STRUCT), "thumb": pa.array(ROWS[::-1])},
            "image",
            NUMBERS,
        ),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
def test_parquet(
    columns: dict[str, pa.Array],
    bytes_column: str | None,
    expected: list[str],
    remote: bool,
    storage: Storage,
    put_memory: PutMemory,
    put: Put,
    tmp_path: Path,
) -> None:
    body = parquet(pa.table(columns))
    uri = str(put("a.parquet", body))
    if remote:
        uri = "memory://archives/a.parquet"
        put_memory(uri, body)
    found = listed(storage, uri, bytes_column=bytes_column)
    assert [d.uri for d in found] == [f"{uri}!/{n}" for n in expected]
    assert list(bodies(storage, found, tmp_path).values()) == ROWS
    few = [found[i] for i in (39, 0, 20, 21, 8, 8)]
    assert bodies(storage, few, tmp_path) == {d.uri: ROWS[found.index(d)] for d in few}


def test_parquet_null_is_an_empty_file(storage: Storage, put: Put, tmp_path: Path) -> None:
    plain = put("a.parquet", parquet(pa.table({"content": pa.array([b"1", None])})))
    nested = put("b.parquet", parquet(pa.table({"image": pa.array([None, {"bytes": b"2", "path": "x"}], STRUCT)})))
    found = bodies(storage, listed(storage, plain, nested), tmp_path)
    assert list(found.values()) == [b"1", b"", b"", b"2"]


@pytest.mark.parametrize(
    ("columns", "bytes_column", "says"),
    [
        ({"n": [1]}, None, "no column of bytes"),
        ({"a": [b"1"], "b": [b"2"]}, None, "several columns of bytes (a, b)"),
        ({"a": [b"1"]}, "c", "no column 'c' of bytes"),
        ({"a": ["text"]}, "a", "no column 'a' of bytes"),
    ],
)
def test_parquet_without_the_column(
    columns: dict[str, Any], bytes_column: str | None, says: str, storage: Storage, put: Put, tmp_path: Path
) -> None:
    uri = put("a.parquet", parquet(pa.table(columns)))
    (document,) = listed(storage, uri, bytes_column=bytes_column)
    assert document.uri == str(uri)
    with pytest.raises(DocumentError) as caught:
        fetch(document, storage, tmp_path, LIMITS, bytes_column)
    assert caught.value.code.code == "ARCHIVE_BROKEN"
    assert says in str(caught.value)
    assert "input.bytes_column" in caught.value.remedy


SEEDS = {
    ".zip": zip_bytes({"a.png": b"a" * 200, "b/c.png": b"b" * 50}),
    ".tar": tar_bytes({"a.png": b"a" * 200, "n" * 120: b"b" * 50}),
    ".tar.gz": tar_bytes({"a.png": b"a" * 200, "b/c.png": b"b" * 50}, "w:gz"),
    ".tar.xz": tar_bytes({"a.png": b"a" * 200}, "w:xz"),
    ".parquet": parquet(pa.table({"content": pa.array(ROWS[:5]), "name": pa.array(NAMES[:5])}), 3),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(sorted(SEEDS)), data=st.data())
def test_damage_never_raises_anything_else(suffix: str, data: st.DataObject, storage: Storage, tmp_path: Path) -> None:
    """Bytes flipped, cut or doubled: members, or a DocumentError; each member whole, or a DocumentError."""
    body = bytearray(SEEDS[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double"])):
            case "flip":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[max(at, 1) :]
            case "double":
                body[at:at] = body[: data.draw(st.integers(0, 600))]
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(bytes(body))
    for document in listed(storage, path):
        try:
            fetch(document, storage, tmp_path, LIMITS).discard()
        except DocumentError as error:
            assert error.code.stage == "fetch"
    assert list(tmp_path.glob("fetched-*")) == []
