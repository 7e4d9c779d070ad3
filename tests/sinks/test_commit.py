"""The writer: one cycle on every storage, what it does with what is left lying about, and who may go on."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from sinks_model import OUT, MemoryStorage, Tapped, added, committer, doubt, fail, shown, stage, stop_at

from ocrbatch.config import OutputConfig, StorageConfig
from ocrbatch.errors import OutputInconsistentError, OutputLockedError, StorageError
from ocrbatch.sinks import parquet
from ocrbatch.sinks.commit import Committer, read_ledger
from ocrbatch.sinks.verify import unaccounted, verify
from ocrbatch.storage import Storage, join


def staged_files(storage: MemoryStorage | Storage, output: str = OUT) -> list[str]:
    return [entry.uri for entry in storage.list(f"{output}/_ocrbatch/staging")]


@pytest.fixture(params=["memory", "disk", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[MemoryStorage | Storage, str]:
    if request.param == "memory":
        return MemoryStorage(), OUT
    if request.param == "disk":
        return Storage(StorageConfig()), str(tmp_path / "out")
    seaweed = request.getfixturevalue("seaweed")
    return Storage(seaweed.config()), f"s3://{seaweed.bucket()}/runs/out"


def test_a_night_and_the_next(place: tuple[MemoryStorage | Storage, str]) -> None:
    storage, output = place
    config = OutputConfig(uri=output)
    with Committer.open(storage, config, "night-1") as first:  # type: ignore[arg-type]
        one = stage(first, [("b", 1, 2), ("b", 0, 2)], "dt=1", full=True)
        two = stage(first, [("a", 0, 1)], "dt=1", full=True)
        first.add([one, two], ignored=[("notes.txt", "e")])
        first.add([stage(first, [("c", 0, 3)], full=True), fail(first, [("c", 1, 1), ("d", None, 1)])])
        assert shown(storage, output) == [], "nothing is shown before it is published"
        first.close()
    assert shown(storage, output) == [("a", "e", 0), ("b", "e", 0), ("b", "e", 1), ("c", "e", 0)]
    assert staged_files(storage, output) == []
    assert read_ledger(storage, output).settled  # type: ignore[arg-type]

    with Committer.open(storage, config, "night-2") as second:  # type: ignore[arg-type]
        assert second.ledger.pages_held("c", "e")[0] == 3
        assert set(second.ledger.failures("c", "e")) == {1}
        assert second.ledger.ignored("notes.txt", "e")
        second.add([stage(second, [("c", 1, 3), ("c", 2, 3), ("a", 0, 1)], full=True)])
        second.close()
    assert shown(storage, output)[-3:] == [("c", "e", 0), ("c", "e", 1), ("c", "e", 2)]
    assert len(shown(storage, output)) == 6
    assert not list(unaccounted(read_ledger(storage, output), [(uri, "e") for uri in "abcd"]))  # type: ignore[arg-type]
    report = verify(storage, output)  # type: ignore[arg-type]
    assert report.problems == []
    assert (report.pages, report.failures) == (6, {"DETECT_FAILED": 1})


def test_published_files_are_plain_parquet_in_order(tmp_path: Path) -> None:
    pages = [(f"u{i % 7}", i // 7, 5) for i in range(35)]
    c = committer(Storage(), str(tmp_path))
    c.add([stage(c, pages[20:], "dt=1", full=True), stage(c, pages[:20], "dt=1", full=True)])
    c.close()
    (file,) = (tmp_path / "pages" / "dt=1").iterdir()
    table = pq.read_table(file, partitioning=None)
    assert table.schema.metadata is None, "the keys stay in the log"
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
    dataset = ds.dataset(tmp_path / "pages", partitioning="hive")
    assert dataset.count_rows() == 35
    assert dataset.to_table(columns=["dt"])["dt"].unique().to_pylist() == [1]
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    query = f"select count(*), count(distinct (uri, page_index)), min(boxes[1][3]) from '{tmp_path}/pages/**/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(35, 35, 9)]
    assert polars.scan_parquet(tmp_path / "pages").select(polars.len()).collect().item() == 35


def test_rows_of_overlapping_parts_keep_their_files_order(tmp_path: Path) -> None:
    """Nearly sorted, and the same whatever order the parts were added in."""
    tables = []
    for run, turn in enumerate((1, -1)):
        c = committer(Storage(), str(tmp_path / str(run)))
        parts = [[("a", 0, 1), ("c", 0, 1)], [("b", 0, 1), ("d", 0, 1)], [("e", 1, 2), ("e", 0, 2)]]
        c.add([stage(c, pages) for pages in parts[::turn]])
        c.close()
        tables.append(ds.dataset(tmp_path / str(run) / "pages").to_table())
    assert tables[0]["uri"].to_pylist() == ["a", "c", "b", "d", "e", "e"]
    assert tables[0]["page_index"].to_pylist()[-2:] == [0, 1]
    assert tables[0].equals(tables[1])


def test_parts_are_published_at_the_target_size_and_by_partition_and_schema() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    few = [stage(c, [(f"{dt}{i}", 0, 1)], f"dt={dt}") for i in range(2) for dt in "ab"]
    wide = stage(c, [("wide", 0, 1)], "dt=a", full=True)
    c.add([*few, wide])
    assert c.publish() == 0
    c.target_bytes = min(few[0].bytes + few[2].bytes, few[1].bytes + few[3].bytes)
    assert max(part.bytes for part in few) < c.target_bytes < wide.bytes
    assert c.publish(limit=1) == 1
    assert len(shown(storage)) == 2
    assert c.publish() == 2, "the wide part alone is as large as the target"
    assert len(shown(storage)) == 5
    assert c.publish(force=True) == 0


def test_nothing_to_add_writes_nothing() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    part = stage(c, [("a", 0, 1)])
    c.add([part], ignored=[("x", "e")])
    before = dict(storage.objects)
    c.add([part], ignored=[("x", "e"), ("x", "e")])
    c.add([])
    assert c.publish() == 0
    assert storage.objects == before


def test_what_is_held_already_is_dropped_and_what_is_new_is_kept() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    c.add([stage(c, [("a", 0, 3)])])
    again, partly = stage(c, [("a", 0, 3)]), stage(c, [("a", 0, 3), ("a", 1, 3), ("b", 0, 1)])
    c.add([again, partly])
    assert added(storage) == [("a", "e", 0), ("a", "e", 1), ("b", "e", 0)]
    assert join(OUT, again.path) not in storage.objects
    assert join(OUT, partly.path) not in storage.objects, "a copy with the rest stands for it"
    c.close()
    assert shown(storage) == added(storage)
    assert staged_files(storage) == []


def test_failures_that_are_held_or_moot_are_dropped() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    c.add([stage(c, [("a", 0, 2)]), fail(c, [("a", 1, 1)])])
    c.add([fail(c, [("a", 1, 1), ("a", 0, 1), ("a", 1, 2)])])
    c.close()
    rows = [row for entry in storage.list(f"{OUT}/failures") for row in read(storage, entry.uri).to_pylist()]
    assert sorted((row["uri"], row["page_index"], row["attempt"]) for row in rows) == [("a", 1, 1), ("a", 1, 2)]


def read(storage: MemoryStorage, uri: str) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(storage.read(uri))).read()


def test_staged_files_whose_results_never_came_are_adopted_at_the_next_start() -> None:
    storage = MemoryStorage()
    first = committer(storage)
    first.add([stage(first, [("a", 0, 2)])])
    stage(first, [("a", 0, 2), ("a", 1, 2)])
    stage(first, [("a", 0, 2)])
    fail(first, [("b", None, 1)])
    torn = f"{OUT}/_ocrbatch/staging/{first.epoch:012d}/torn.parquet"
    storage.put(torn, b"PAR1 and no more")
    merged = parquet.merge(storage, OUT, first.epoch, list(first.ledger.staged["main"].values()))  # type: ignore[arg-type]
    second = committer(storage, run_id="r2")
    assert added(storage) == [("a", "e", 0), ("a", "e", 1)]
    assert second.ledger.failures("b", "e")[None].attempt == 1
    assert torn not in storage.objects
    assert join(OUT, merged.path) not in storage.objects
    assert len(staged_files(storage)) == 3, "what the log names, and nothing else"
    second.close()
    assert shown(storage) == added(storage)
    assert staged_files(storage) == []


def test_a_lost_result_may_be_adopted_and_still_come() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    part = stage(c, [("a", 0, 2)])
    assert c.adopt() == 1
    assert c.adopt() == 0
    c.add([part])
    assert join(OUT, part.path) in storage.objects, (
        "the file that the log names is never taken for a repetition of itself"
    )
    c.close()
    c2 = committer(storage, run_id="r2")
    c2.add([part])
    c2.close()
    assert shown(storage) == [("a", "e", 0)]


def test_a_late_failure_of_a_document_gives_way_to_its_pages() -> None:
    """Its writer died long ago, and another has opened the document since."""
    storage = MemoryStorage()
    old = committer(storage)
    stale = fail(old, [("a", None, 1)])
    new = committer(storage, run_id="r2")
    new.adopt()
    assert None in new.ledger.failures("a", "e"), "nothing is known that contradicts it"
    late = fail(old, [("b", None, 1)])
    new.add([stage(new, [("a", 0, 2), ("b", 0, 2)])])
    new.adopt()
    assert not new.ledger.failures("b", "e")
    assert not new.ledger.names(late.path)
    assert new.ledger.names(stale.path)


def test_closing_commits_what_is_staged_though_its_result_never_came() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    stage(c, [("a", 0, 1)])
    c.close()
    assert shown(storage) == [("a", "e", 0)]


def test_a_closed_writer_writes_no_record() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    c.close()
    late = stage(c, [("b", 0, 1)])
    before = dict(storage.objects)
    with pytest.raises(OutputInconsistentError, match="ADD"):
        c.add([late])
    c.close()
    assert {name for name in storage.objects if "/log/" in name} == {name for name in before if "/log/" in name}


def test_other_files_in_staging_are_left_alone() -> None:
    storage = MemoryStorage()
    storage.put(f"{OUT}/_ocrbatch/staging/README", b"?")
    storage.put(f"{OUT}/_ocrbatch/staging/000000000099/x.parquet", b"?")
    c = committer(storage)
    c.close()
    assert len(staged_files(storage)) == 2


def test_what_interrupted_writes_left_on_disk_is_cleared_when_it_is_old(tmp_path: Path) -> None:
    committer(Storage(), str(tmp_path)).close()
    staging, temporary = tmp_path / "_ocrbatch" / "staging", f".x.{'0' * 32}.tmp"
    for age, name in ((7200, "000000000000"), (60, "000000000001")):
        (staging / name).mkdir(parents=True, exist_ok=True)
        (staging / name / temporary).write_bytes(b"half")
        for path in (staging / name / temporary, staging / name):
            os.utime(path, (time.time() - age,) * 2)
    committer(Storage(), str(tmp_path), run_id="r2").close()
    assert [path.name for path in sorted(staging.rglob("*"))] == ["000000000001", temporary]


def test_a_shard_leaves_the_staging_of_another_alone() -> None:
    storage = MemoryStorage()
    a = committer(storage, shard="a")
    waiting = stage(a, [("u", 0, 1)])
    b = committer(storage, shard="b")
    b.add([stage(b, [("v", 0, 1)])])
    assert join(OUT, waiting.path) in storage.objects
    a.add([waiting])
    b.close()
    a.close()
    assert shown(storage) == [("u", "e", 0), ("v", "e", 0)]


def test_two_shards_never_hold_a_page_twice() -> None:
    storage = MemoryStorage()
    a, b = committer(storage, shard="a"), committer(storage, shard="b")
    a.add([stage(a, [("u", 0, 2)])])
    b.add([stage(b, [("u", 0, 2), ("u", 1, 2)])])
    a.add([stage(a, [("u", 1, 2)])])
    a.close()
    b.close()
    assert shown(storage) == [("u", "e", 0), ("u", "e", 1)]


def test_a_writer_that_was_replaced_commits_nothing() -> None:
    storage = MemoryStorage()
    old = committer(storage)
    part = stage(old, [("a", 0, 1)])
    new = committer(storage, run_id="r2")
    before = dict(storage.objects)
    for attempt in (lambda: old.add([part]), lambda: old.add([part]), old.close):
        with pytest.raises(OutputLockedError, match="taken over by run r2"):
            attempt()
    assert storage.objects == before
    new.close()
    assert shown(storage) == [("a", "e", 0)]


def test_a_writer_that_wakes_while_it_merges_learns_that_it_was_replaced() -> None:
    storage = MemoryStorage()
    old = committer(storage)
    old.add([stage(old, [("a", 0, 1)])])
    committer(storage, run_id="r2").close()
    with pytest.raises(OutputLockedError, match="taken over by run r2"):
        old.publish(force=True)
    assert shown(storage) == [("a", "e", 0)]


@pytest.mark.parametrize("applied", [True, False])
def test_calls_that_end_in_doubt_may_be_repeated(applied: bool) -> None:
    """For every mutating call: it fails, applied or not, and the caller does the same again."""
    reached = 0
    for k in range(40):
        storage = MemoryStorage()
        c = committer(storage)
        c._storage = Tapped(storage, stop_at(k, applied=applied, error=doubt))  # type: ignore[assignment]
        failed = 0

        def again(call: Callable[[], object]) -> object:
            nonlocal failed
            try:
                return call()
            except StorageError:
                failed += 1
                return call()

        part = again(lambda: stage(c, [("a", 0, 2)]))  # noqa: B023
        again(lambda: c.add([part], ignored=[("x", "e")]))  # type: ignore[list-item]  # noqa: B023
        partly = again(lambda: stage(c, [("a", 0, 2), ("a", 1, 2)]))  # noqa: B023
        again(lambda: c.add([partly]))  # type: ignore[list-item]  # noqa: B023
        again(lambda: c.publish(force=True))  # noqa: B023
        again(c.close)
        assert shown(storage) == added(storage) == [("a", "e", 0), ("a", "e", 1)]
        committer(storage).close()
        assert verify(storage, OUT).problems == []  # type: ignore[arg-type]
        assert staged_files(storage) == []
        reached += failed
    assert reached >= 10


def test_a_staged_file_that_is_gone_is_said_before_anything_is_published() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    part = stage(c, [("a", 0, 1)])
    c.add([part])
    storage.delete(join(OUT, part.path))
    with pytest.raises(OutputInconsistentError, match="is gone"):
        c.publish(force=True)


def test_a_strange_file_under_a_parts_name_is_not_overwritten() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    c.add([stage(c, [("a", 0, 1)])])
    storage.put(f"{OUT}/pages/part-{c.ledger.next:012d}.parquet", b"mine")
    with pytest.raises(OutputInconsistentError, match="is not the file"):
        c.publish(force=True)


def test_large_commits_are_cut_into_several_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocrbatch.sinks.commit._KEYS_PER_RECORD", 5)
    storage = MemoryStorage()
    c = committer(storage)
    c.add([stage(c, [(f"u{i}", 0, 1)]) for i in range(7)], ignored=[(f"x{i}", "e") for i in range(12)])
    assert c.ledger.next == 1 + 4 + 3
    assert len(added(storage)) == 7
    assert read_ledger(storage, OUT).ignored_keys == {(f"x{i}", "e") for i in range(12)}  # type: ignore[arg-type]


def test_a_storage_without_exclusive_create_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = Storage()
    monkeypatch.setattr(storage, "put_if_absent", lambda uri, body: storage.put(uri, body) or True)
    with pytest.raises(OutputInconsistentError, match="exclusive"):
        Committer.open(storage, OutputConfig(uri=str(tmp_path)), "r")
    assert list(storage.list(str(tmp_path))) == []


def test_a_second_writer_is_refused_by_the_lease_and_it_is_given_back(tmp_path: Path) -> None:
    storage, config = Storage(), OutputConfig(uri=str(tmp_path))
    with Committer.open(storage, config, "r1"), pytest.raises(OutputLockedError, match=r"run r1 on .*pid"):
        Committer.open(storage, config, "r2")
    with Committer.open(storage, config, "r3") as c:
        assert c.ledger.opened["main"].run_id == "r3"


def test_a_foreign_open_while_opening_counts_only_without_the_lease(tmp_path: Path) -> None:
    """An OPEN whose reply was lost to a dead run must not stop the one that has the lease."""
    storage, config = Storage(), OutputConfig(uri=str(tmp_path))
    intruded = False

    def tap(name: str, call: Callable[[], object]) -> object:
        nonlocal intruded
        if name == "put_if_absent" and not intruded:
            intruded = True
            committer(storage, str(tmp_path), run_id="ghost")
        return call()

    monkey = Tapped(storage, tap)
    from ocrbatch.sinks import commit

    commit._probed.add(str(tmp_path))
    with Committer.open(monkey, config, "r1") as c:  # type: ignore[arg-type]
        assert c.epoch == 1
        c.close()
    assert intruded


def test_dismissing_leaves_what_another_writer_adds_meanwhile() -> None:
    storage = MemoryStorage()
    first = committer(storage, shard="a", run_id="r1")
    other = committer(storage, shard="b", run_id="r2")
    first.add([fail(first, [("u", None, 1), ("w", None, 1)])])
    other.add([fail(other, [("u", None, 2)])])
    first.dismiss([("u", "e"), ("w", "e"), ("nothing", "e")])
    assert [(uri, state.attempt) for uri, _, _, state in read_ledger(storage, OUT).open_failures()] == [("u", 2)]  # type: ignore[arg-type]
