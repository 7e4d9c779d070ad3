"""Every way in which an output can differ from its log is found and said; what a next run finishes is no fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sinks_model import Tapped, committer, fail, stage

from ocrbatch.errors import OutputInconsistentError, UsageError
from ocrbatch.sinks import bookmark, parquet
from ocrbatch.sinks.commit import read_ledger, require_whole, whole_ledger
from ocrbatch.sinks.log import Key
from ocrbatch.sinks.verify import Report, require_files, unaccounted, verify
from ocrbatch.storage import Storage

PLAN = [("a", "e"), ("b", "e"), ("c", "e"), ("x", "e")]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two published parts, one failure of each kind, one ignored file."""
    c = committer(Storage(), str(tmp_path))
    c.add([stage(c, [("a", 0, 2)])])
    c.publish(force=True)
    c.add([stage(c, [("a", 1, 2), ("b", 0, 2)]), fail(c, [("b", 1, 1), ("c", None, 1)])], ignored=[("x", "e")])
    c.close()
    return tmp_path


def parts(output: Path, kind: str = "pages") -> list[Path]:
    return sorted((output / kind).iterdir())


def problems(output: Path, *, quick: bool = False) -> str:
    return "\n".join(verify(Storage(), str(output), quick=quick).problems)


def accounted(output: Path, planned: list[Key], selected: Callable[[int], Iterable[int]] = range) -> Report:
    report = Report()
    report.account(dict(unaccounted(read_ledger(Storage(), str(output)), planned, selected)))
    return report


def test_a_sound_output(output: Path) -> None:
    report = verify(Storage(), str(output))
    assert report.ok
    assert accounted(output, PLAN).missing == 0
    assert report.notes == []
    assert (report.documents, report.pages, report.staged, report.parts, report.ignored) == (3, 3, 0, 2, 1)
    assert report.settled
    assert report.failures == {"DETECT_FAILED": 2}


def test_an_output_that_no_run_has_written_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output of a run"):
        verify(Storage(), str(tmp_path))


def test_a_part_that_is_gone(output: Path) -> None:
    parts(output)[0].unlink()
    assert "is gone, and with it 1 rows" in problems(output, quick=True)
    assert "is gone, and with it 1 rows" in problems(output)


def test_a_part_that_was_changed(output: Path) -> None:
    file = parts(output)[0]
    body = bytearray(file.read_bytes())
    body[20] ^= 1
    file.write_bytes(body)
    assert problems(output, quick=True) == ""
    assert "has been changed" in problems(output)
    file.write_bytes(body + b"!")
    assert "bytes instead of" in problems(output, quick=True)


def test_a_part_that_nobody_published(output: Path) -> None:
    copy = output / "pages" / "dt=1" / "part-copy.parquet"
    body = parts(output)[0].read_bytes()
    copy.parent.mkdir()
    copy.write_bytes(body)
    said = problems(output, quick=True)
    assert "pages/dt=1/part-copy.parquet is in no record of the log, so its rows may be there twice: move it" in said


def test_a_part_of_which_the_log_has_lost_the_record(output: Path) -> None:
    for record in sorted((output / "_ocrbatch/log").iterdir())[2:]:
        record.unlink()
    said = problems(output, quick=True)
    assert "is in no record of the log, of which the end must be lost" in said
    assert "move it" not in said, "it is the only copy of its rows"


def test_a_run_does_not_begin_where_parts_are_not_as_the_log_says(output: Path) -> None:
    def opened(matching: str) -> None:
        with pytest.raises(OutputInconsistentError, match=matching):
            require_files(Storage(), str(output), read_ledger(Storage(), str(output)))

    require_files(Storage(), str(output), read_ledger(Storage(), str(output)))
    (output / "pages" / "somebody's.parquet").write_bytes(b"no business of ours")
    require_files(Storage(), str(output), read_ledger(Storage(), str(output)))
    body = parts(output)[0].read_bytes()
    parts(output)[0].write_bytes(body + b"!")
    opened("part-.*has been changed")
    parts(output)[0].unlink()
    opened("part-.* is gone")
    shutil.rmtree(output / "_ocrbatch")
    opened("part-.*in no record of the log, of which the end must be lost")
    require_files(Storage(), f"{output}/new", read_ledger(Storage(), f"{output}/new"))


def test_a_record_that_is_missing(output: Path) -> None:
    log = sorted((output / "_ocrbatch/log").iterdir())
    assert len(log) > 4
    for gone in ([2], [2, 3], range(2, len(log) - 1), [0], [0, 1]):
        bodies = {log[n]: log[n].read_bytes() for n in gone}
        for path in bodies:
            path.unlink()
        for read in (whole_ledger, verify):
            missing = f"{log[gone[0]].name} of .* is missing, and the log goes on"
            with pytest.raises(OutputInconsistentError, match=missing):
                read(Storage(), str(output))
        for path, body in bodies.items():
            path.write_bytes(body)
    whole_ledger(Storage(), str(output))


def test_a_record_that_is_written_meanwhile_is_not_missing(output: Path) -> None:
    old = read_ledger(Storage(), str(output))
    committer(Storage(), str(output)).close()
    assert require_whole(Storage(), str(output), old) is old


def test_what_is_no_record_of_the_log_is_not_missed(output: Path) -> None:
    for name in ("000000000099.json.bak", "notes.json", ".000000000099.json.tmp"):
        (output / "_ocrbatch/log" / name).write_bytes(b"{}")
    whole_ledger(Storage(), str(output))


def test_records_that_a_checkpoint_still_knows(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookmark, "EVERY", 1)
    c = committer(Storage(), str(output))
    c.add([stage(c, [("d", 0, 1)])])
    c.close()
    log = sorted((output / "_ocrbatch/log").iterdir())
    for record in log[2:4]:
        record.unlink()
    assert f"{log[2].name} is missing; _ocrbatch/checkpoints/last.json still names what it said" in problems(output)


def test_a_log_that_says_other_than_the_files(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts whose rows differ from their keys can't be written; so the reading of keys is bent here."""
    real = parquet.keys_of

    def bent(kind: str, body: bytes) -> list[tuple[object, ...]]:
        keys = list(real(kind, body))  # type: ignore[arg-type]
        return [("a", "e", 1) if key == ("a", "e", 0) else key for key in keys if key[:3] != ("b", "e", 1)]

    monkeypatch.setattr("ocrbatch.sinks.verify.keys_of", bent)
    said = problems(output)
    assert "page 1 of a (etag e) is there twice" in said
    assert "a (etag e): the log names pages 0, 1, the files hold page 1" in said
    assert "the open failure DETECT_FAILED of b (etag e) has no row" in said


def test_what_was_planned_and_is_accounted_for_by_nothing(output: Path) -> None:
    report = accounted(output, [*PLAN, ("new", "e"), ("a", "e2")])
    assert report.missing == 2
    assert "new (etag e): neither a row nor a failure for the whole document" in report.unfinished
    c = committer(Storage(), str(output))
    c.add([stage(c, [("d", 0, 3)])])
    c.close()
    assert accounted(output, [("d", "e")]).unfinished == ["d (etag e): neither a row nor a failure for pages 1, 2"]
    assert accounted(output, [("d", "e")], selected=lambda count: range(0, count, 3)).missing == 0


def test_many_problems_of_a_kind_are_counted(output: Path) -> None:
    said = accounted(output, [(f"n{i}", "e") for i in range(12)]).unfinished
    assert len(said) == 6
    assert said[-1] == "... and 7 more of this kind"


def test_what_a_stopped_run_left_is_no_fault(output: Path) -> None:
    storage = Storage()
    c = committer(storage, str(output), run_id="stopped")
    c.add([stage(c, [("d", 0, 1)])])
    report = verify(storage, str(output))
    assert report.ok
    assert not report.settled
    assert (report.pages, report.staged) == (4, 1)
    assert len(report.notes) == 2
    (waiting,) = (path for path in (output / "_ocrbatch" / "staging").rglob("*.parquet"))
    waiting.unlink()
    assert "is gone, and its rows were not published yet" in problems(output)


def test_a_publish_that_is_not_applied_yet_is_no_fault(output: Path) -> None:
    storage = Storage()
    c = committer(storage, str(output))
    c.add([stage(c, [("d", 0, 1)])])

    class Stop(BaseException):
        pass

    def tap(name: str, call: object) -> object:
        if name == "copy_if_absent":
            raise Stop
        return call()  # type: ignore[operator]

    c._storage = Tapped(storage, tap)  # type: ignore[assignment]
    with pytest.raises(Stop):
        c.publish(force=True)
    report = verify(storage, str(output))
    assert report.ok
    assert "is decided but not shown yet" in report.notes[0]
    committer(storage, str(output)).close()
    assert verify(storage, str(output)).notes == []
    assert sum(pq.read_metadata(path).num_rows for path in parts(output)) == 4
