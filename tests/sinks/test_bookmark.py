"""A reader begins at the last checkpoint; and whatever is wrong with it costs time alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from sinks_model import OUT, MemoryStorage, Tapped, committer, fail, stage

from ocrbatch.errors import StorageError
from ocrbatch.sinks import bookmark, checkpoint
from ocrbatch.sinks.commit import Committer, read_ledger
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.verify import verify

MARK = f"{OUT}/_ocrbatch/checkpoints/last.json"
EVERY = 10


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookmark, "EVERY", EVERY)


def add(c: Committer, count: int, name: str = "u") -> None:
    for i in range(count):
        c.add([stage(c, [(f"{name}{i}", 0, 2)])])


def written(count: int = 34) -> MemoryStorage:
    storage = MemoryStorage()
    add(committer(storage), count)
    return storage


def read(storage: MemoryStorage) -> tuple[Ledger, list[str]]:
    """The ledger, and the names of what was read for it."""
    names: list[str] = []

    class Noting(MemoryStorage):
        def read(self, uri: str, start: int | None = None, end: int | None = None) -> bytes:
            names.append(uri.removeprefix(f"{OUT}/_ocrbatch/"))
            return super().read(uri, start, end)

    noting = Noting()
    noting.objects = storage.objects
    return read_ledger(noting, OUT), names  # type: ignore[arg-type]


def by_log(storage: MemoryStorage) -> Ledger:
    return read_ledger(storage, OUT, Ledger())  # type: ignore[arg-type]


def checkpoints(storage: MemoryStorage) -> list[str]:
    return sorted(name for name in storage.objects if "/checkpoints/" in name and name != MARK)


def test_a_long_log_is_read_from_its_last_checkpoint() -> None:
    storage = written(34)
    ledger, names = read(storage)
    assert ledger == by_log(storage)
    assert ledger.next == 35
    records = [name for name in names if name.startswith("log/")]
    assert records == [f"log/{n:012d}.json" for n in (29, 30, 31, 32, 33, 34, 35)]
    assert len(names) == len(records) + 2, "and the bookmark, and the checkpoint"


@pytest.mark.parametrize("count", range(8, 14))
def test_never_more_than_so_many_records_are_read(count: int) -> None:
    """One before the checkpoint, which proves that it is of this log, and one that is not there."""
    _, names = read(written(2 * EVERY + count))
    assert sum(name.startswith("log/") for name in names) <= EVERY + 2


def test_a_short_log_has_no_checkpoint() -> None:
    storage = written(EVERY - 2)
    assert not checkpoints(storage)
    assert read(storage)[0] == by_log(storage)


def test_a_writer_begins_at_the_checkpoint_of_the_one_before() -> None:
    storage = written(34)
    storage.objects = {k: v for k, v in storage.objects.items() if not k.endswith("/log/000000000003.json")}
    c = committer(storage, run_id="r2")
    add(c, 1, "v")
    c.close()
    assert c.ledger.page_total == 35


def test_the_last_two_checkpoints_are_kept() -> None:
    storage = written(65)
    assert [name.rpartition("/")[2][:12] for name in checkpoints(storage)] == [f"{n:012d}" for n in (50, 60)]


def spoil_bookmark(body: bytes) -> Callable[[MemoryStorage], None]:
    return lambda storage: storage.put(MARK, body)


def change_bookmark(**changes: object) -> Callable[[MemoryStorage], None]:
    def change(storage: MemoryStorage) -> None:
        storage.put(MARK, json.dumps(json.loads(storage.objects[MARK]) | changes).encode())

    return change


def spoil_checkpoint(how: Callable[[bytes], bytes]) -> Callable[[MemoryStorage], None]:
    def spoil(storage: MemoryStorage) -> None:
        name = checkpoints(storage)[-1]
        storage.put(name, how(storage.objects[name]))

    return spoil


def other_ledger(storage: MemoryStorage) -> None:
    """The hash is right, and the record; but it is the checkpoint of another number."""
    body = checkpoint.encode(Ledger(next=5))
    mark = json.loads(storage.objects[MARK])
    mark["sha256"] = bookmark._sha256(body)
    storage.put(f"{OUT}/{bookmark.checkpoint_path(mark['next'], mark['sha256'])}", body)
    storage.put(MARK, json.dumps(mark).encode())


HARMS = {
    "no bookmark": (lambda storage: storage.delete(MARK), ""),
    "a torn bookmark": (spoil_bookmark(b'{"v":1,"nex'), ""),
    "a strange bookmark": (spoil_bookmark(b"[]"), ""),
    "another version": (change_bookmark(v=checkpoint.VERSION + 1), ""),
    "a number that can't be": (change_bookmark(next=0), ""),
    "a number of another kind": (change_bookmark(next="thirty"), ""),
    "a hash of another kind": (change_bookmark(sha256=7), "is gone"),
    "no checkpoint": (lambda storage: storage.delete(checkpoints(storage)[-1]), "is gone"),
    "a torn checkpoint": (spoil_checkpoint(lambda body: body[:-20]), "is damaged"),
    "a changed checkpoint": (spoil_checkpoint(lambda body: body[:50] + b"?" + body[51:]), "is damaged"),
    "another log": (change_bookmark(record="0" * 64), "of another log"),
    "a checkpoint that lies": (other_ledger, "ends before record 5"),
}


@pytest.mark.parametrize(("harm", "told"), HARMS.values(), ids=HARMS)
def test_what_is_wrong_with_it_costs_time_alone(
    harm: Callable[[MemoryStorage], None], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage = written(34)
    harm(storage)
    with caplog.at_level(logging.WARNING):
        ledger, names = read(storage)
    assert ledger == by_log(storage)
    assert "log/000000000000.json" in names
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)
    c = committer(storage, run_id="r2")
    add(c, EVERY + 1, "v")
    ledger, names = read(storage)
    assert ledger == by_log(storage)
    assert "log/000000000000.json" not in names, "the next one is good again"


def test_verify_goes_by_the_log_and_finds_a_checkpoint_that_lies() -> None:
    """Only a fault in our own code can write one: its hash and its number are right."""
    storage = written(34)
    committer(storage, run_id="r2").close()
    assert verify(storage, OUT).problems == []  # type: ignore[arg-type]
    lie = by_log(storage)
    lie.held.popitem()
    storage.objects = {k: v for k, v in storage.objects.items() if "/checkpoints/" not in k}
    bookmark.leave(storage, OUT, lie)  # type: ignore[arg-type]
    (problem,) = verify(storage, OUT).problems  # type: ignore[arg-type]
    assert "checkpoint" in problem
    assert verify(storage, OUT).pages == 34  # type: ignore[arg-type]


def test_an_older_bookmark_costs_some_records() -> None:
    storage = written(24)
    older = storage.objects[MARK]
    c = committer(storage, run_id="r2")
    add(c, 10, "v")
    assert storage.objects[MARK] != older
    storage.put(MARK, older)
    ledger, names = read(storage)
    assert ledger == by_log(storage)
    assert "log/000000000000.json" not in names


def test_a_log_that_was_begun_anew_does_not_use_the_checkpoint_of_the_old_one() -> None:
    storage = written(34)
    storage.objects = {k: v for k, v in storage.objects.items() if "/checkpoints/" in k}
    c = committer(storage)
    assert c.epoch == 0
    add(c, EVERY)
    assert json.loads(storage.objects[MARK])["next"] == EVERY, "and leaves its own, though the old one is further on"
    ledger, names = read(storage)
    assert ledger == by_log(storage)
    assert "log/000000000000.json" not in names, "which is still there"


def test_a_checkpoint_that_is_replaced_while_it_is_read() -> None:
    """Its bookmark was read, then a writer left two more and cleared it."""
    storage = written(24)
    first = checkpoints(storage)[-1]
    once = [True]

    def tap(name: str, call: Callable[[], object]) -> object:
        if name == "read" and len(seen) == 1 and once:
            once.pop()
            add(committer(storage, run_id="r2"), 20, "v")
            assert first not in storage.objects
        seen.append(name)
        return call()

    seen: list[str] = []
    ledger = read_ledger(Tapped(storage, tap), OUT)  # type: ignore[arg-type]
    assert not once
    assert ledger == by_log(storage)
    assert len(seen) < 20


def test_writers_of_two_shards_leave_one_between_them() -> None:
    storage = MemoryStorage()
    a, b = committer(storage, shard="a"), committer(storage, shard="b")
    puts: list[str] = []
    for i in range(15):
        add(a, 1, f"a{i}-")
        add(b, 1, f"b{i}-")
        puts += [name for name in checkpoints(storage) if name not in puts]
    assert len(puts) == 3
    assert read(storage)[0] == by_log(storage)


def test_a_checkpoint_that_can_not_be_written_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStorage):
        tries = 0

        def put(self, uri: str, body: bytes) -> None:
            if "/checkpoints/" in uri:
                self.tries += 1
                raise StorageError("no room")
            super().put(uri, body)

    storage = Full()
    c = committer(storage)
    with caplog.at_level(logging.WARNING):
        add(c, 2 * EVERY)
        c.close()
    assert c.ledger.settled
    assert storage.tries == 2, "not once a record"
    assert "no room" in caplog.text


def test_what_failed_is_known_after_a_checkpoint() -> None:
    storage = MemoryStorage()
    c = committer(storage)
    c.add([fail(c, [("u3", 1, 1), ("w", None, 2)])], ignored=[("x.txt", "e")])
    add(c, EVERY)
    ledger, names = read(storage)
    assert "log/000000000001.json" not in names
    assert [(uri, index) for uri, _, index, _ in ledger.open_failures()] == [("u3", 1), ("w", None)]
    assert ledger.ignored("x.txt", "e")
