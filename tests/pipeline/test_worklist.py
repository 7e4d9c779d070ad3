"""The run's manifest: everything comes back, in groups that spread over the workers."""

from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.config import StorageConfig, load
from ocrbatch.pipeline import worklist
from ocrbatch.records import Document
from ocrbatch.sources.selection import Work
from ocrbatch.storage import Storage


def works(sizes):
    return [
        Work(Document(f"/in/{i}.pdf", f"e{i}", size, None, {"shelf": i}), (0, i), 1 + i % 3)
        for i, size in enumerate(sizes)
    ]


@settings(max_examples=30)
@given(sizes=st.lists(st.none() | st.integers(0, 200 << 20), max_size=60), workers=st.integers(1, 8))
def test_what_is_written_is_read_back_in_groups_of_bounded_size(tmp_path_factory, sizes, workers):
    folder = str(tmp_path_factory.mktemp("run"))
    storage, extra = Storage(StorageConfig()), [pa.field("shelf", pa.int16())]
    files = list(worklist.write(works(sizes), extra, storage, folder, workers))
    assert list(worklist.read(files, storage)) == works(sizes)
    assert sum(file.rows for file in files) == len(sizes)
    for file in files:
        parquet = pq.ParquetFile(file.uri)
        assert parquet.num_row_groups == file.row_groups
        for number in range(parquet.num_row_groups):
            group = [size or 0 for size in parquet.read_row_group(number)["size"].to_pylist()]
            assert len(group) <= worklist.GROUP_ROWS
            assert len(group) == 1 or sum(group) <= worklist.GROUP_BYTES


def test_a_short_list_is_spread_over_the_workers(tmp_path):
    (file,) = worklist.write(works([1] * 16), [], Storage(StorageConfig()), str(tmp_path), workers=2)
    assert file.row_groups == 8


def groups(file):
    parquet = pq.ParquetFile(file.uri)
    return [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]


def test_groups_grow_with_a_long_list_and_stay_a_small_share_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(worklist, "FILE_ROWS", 1000)
    monkeypatch.setattr(worklist, "SHARE", 20)
    files = list(worklist.write(works([1] * 10_000), [], Storage(), str(tmp_path / "run"), workers=1))
    found = [groups(file) for file in files]
    assert sum(map(sum, found)) == 10_000
    before = 0
    for size in chain(*found):
        assert size <= max(16, before // 20)
        before += size
    assert set(found[0][:20]) == {16}, "a short list has small ones"
    assert max(found[-1]) == worklist.GROWN * 16 == 256
    assert sum(map(len, found)) < 150


def test_groups_of_a_long_list_leave_each_worker_many(tmp_path, monkeypatch):
    monkeypatch.setattr(worklist, "FILE_ROWS", 1000)
    monkeypatch.setattr(worklist, "SHARE", 20)
    files = list(worklist.write(works([1] * 10_000), [], Storage(), str(tmp_path / "run"), workers=10))
    assert max(groups(files[-1])) <= 9000 / (10 * worklist.SPREAD)


def test_large_documents_stay_few_to_a_group_and_those_that_are_read_alone_stay_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(worklist, "FILE_ROWS", 1000)
    monkeypatch.setattr(worklist, "SHARE", 20)
    monkeypatch.setattr(worklist, "GROUP_BYTES", 100)
    large = list(worklist.write(works([50] * 4000), [], Storage(), str(tmp_path / "large"), workers=1))
    assert max(groups(large[0])[:20]) == 2
    assert 2 < max(groups(large[-1])) <= 2 * worklist.GROWN
    alone = list(worklist.write(works([1] * 4000), [], Storage(), str(tmp_path / "alone"), workers=1, group_rows=1))
    assert set(groups(alone[-1])) == {1}


def test_the_last_settings_and_all_manifests(tmp_path):
    storage, output = Storage(StorageConfig()), str(tmp_path)
    folder = worklist.folder_of(output, 2, "20260102T000000-b")
    list(worklist.write(works([1] * 2), [], storage, folder, 1))
    list(worklist.write(works([1] * 9), [], storage, f"{folder}/pass-2", 1))
    worklist.write_settings(load("", [f"output.uri={output}"]), storage, folder)
    for name in ("report.json", "manifest-00000.parquet"):  # of a run that was stopped while it listed
        storage.put(f"{worklist.folder_of(output, 14, '20260101T000000-d')}/{name}", b"{}")
    storage.put(f"{worklist.folder_of(output, 100, '20260101T000000-a')}/manifest-00000.parquet", b"")
    assert worklist.last_report(storage, output) == {"run_id": "20260101T000000-a"}
    assert worklist.last_settings(storage, output)["output"]["uri"] == output
    assert [file.uri for file in worklist.all_manifests(storage, output)] == [f"{folder}/manifest-00000.parquet"]


def test_settings_say_how_storage_and_ray_are_reached_and_hold_no_secret(tmp_path):
    reach = (
        "{endpoint_url: 'https://me:PLANTED@minio:9000', region: r, role_arn: a, http_hosts: ['*.org'], timeout: 9, "
    )
    secrets = "key: PLANTED, secret: PLANTED, token: PLANTED, options: {client_kwargs: {verify: PLANTED}}}"
    config = load(
        "",
        [
            f"output.uri={tmp_path}",
            f"input.storage={reach}{secrets}",
            "output.storage.endpoint_url=me:PLANTED@minio:9000",
            "pipeline={address: 'ray://head:10001', layout: split, attempts: 5}",
        ],
    )
    storage = Storage(StorageConfig())
    worklist.write_settings(config, storage, worklist.folder_of(str(tmp_path), 0, "20260101T000000-a"))
    left = worklist.last_settings(storage, str(tmp_path))
    again = load(left)
    assert again.pipeline == config.pipeline
    wanted = StorageConfig(
        endpoint_url="https://minio:9000", region="r", role_arn="a", http_hosts=("*.org",), timeout=9
    )
    assert (again.input.storage, again.output.storage) == (wanted, StorageConfig())
    assert "PLANTED" not in str(left)
