"""The process dies at its k-th mutating call, before or after it took effect, for every k; the rerun ends well."""

from __future__ import annotations

from pathlib import Path

import pytest
from sinks_model import OUT, WANTED, Killed, MemoryStorage, Tapped, committer, job, shown, stop_at

from ocrbatch.sinks import bookmark
from ocrbatch.sinks.commit import read_ledger
from ocrbatch.sinks.verify import unaccounted, verify
from ocrbatch.storage import Storage

PLAN = [("a", "e"), ("b", "e")]


@pytest.fixture(autouse=True)
def _quick_and_with_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookmark, "EVERY", 3)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # what dies here is no kernel


def run(storage: object, output: str, run_id: str) -> None:
    job(committer(storage, output, run_id=run_id))


def check(storage: MemoryStorage | Storage, output: str) -> None:
    assert shown(storage, output) == WANTED
    assert not list(unaccounted(read_ledger(storage, output), PLAN))  # type: ignore[arg-type]
    report = verify(storage, output)  # type: ignore[arg-type]
    assert report.problems == []
    assert report.notes == []
    assert report.failures == {"DETECT_FAILED": 1}
    assert list(storage.list(f"{output}/_ocrbatch/staging")) == []
    assert read_ledger(storage, output).settled  # type: ignore[arg-type]


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_killed_at_every_mutation(place: str, applied: bool, tmp_path: Path) -> None:
    kills = 0
    for k in range(100):
        storage: MemoryStorage | Storage = MemoryStorage() if place == "memory" else Storage()
        output = OUT if place == "memory" else str(tmp_path / str(k))
        try:
            run(Tapped(storage, stop_at(k, applied=applied)), output, "killed")
        except Killed:
            kills += 1
        else:
            break
        before = {entry.uri: storage.read(entry.uri) for entry in storage.list(f"{output}/pages")}
        seen = shown(storage, output)
        assert len(seen) == len(set(seen))
        run(storage, output, "rerun")
        check(storage, output)
        assert all(storage.read(uri) == body for uri, body in before.items()), "a published part never changes"
    assert kills >= 20
    check(storage, output)


def test_killed_again_while_it_recovers() -> None:
    """A run dies after its PUBLISH, before it is applied; so does each of the next, one call later each time."""
    storage = MemoryStorage()
    for k in range(200):
        try:
            run(Tapped(storage, stop_at(k // 4, applied=bool(k % 2))), OUT, f"run-{k}")
        except Killed:
            seen = shown(storage)
            assert len(seen) == len(set(seen))
        else:
            break
    else:
        pytest.fail("it never got to its end")
    check(storage, OUT)
