"""What is left of what the runs of an output were asked for, whatever run ended since."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ocrbatch.config import OutputConfig, load
from ocrbatch.errors import OutputInconsistentError
from ocrbatch.pipeline import worklist
from ocrbatch.pipeline.unfinished import unfinished
from ocrbatch.records import Document
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.ledger import FailureState, Ledger
from ocrbatch.sources.selection import Work
from ocrbatch.storage import Storage


@pytest.fixture
def runs(tmp_path):
    """Leaves a run's folder behind, or a retry's: `runs(epoch, inputs, wanted, *names)`."""
    storage = Storage()

    def leave(epoch, inputs=None, wanted="", *names, etag="e", pages="", settings=worklist.SETTINGS, listed=""):
        folder = worklist.folder_of(str(tmp_path), epoch, "20260101T000000-x")
        if inputs:
            work = [Work(Document(f"/{inputs}/{name}.pdf", etag)) for name in wanted]
            list(worklist.write(work, [], storage, folder, 1))
            given = [f"input.uris=[{inputs}]", "input.storage.secret=hunter2", f"documents.pages='{pages}'"]
            worklist.write_settings(load("", given), storage, folder, settings, listed)
        for name in names:
            storage.put(f"{folder}/{name}", b"{}")
        return folder

    return leave


@pytest.fixture
def ledger():
    """a is whole; of b page 1 of 3 is there; c is to be ignored."""
    held = {("/in/a.pdf", "e"): (1, 0b1), ("/in/b.pdf", "e"): (3, 0b10)}
    return Ledger(next=1, held=held, ignored_keys={("/in/c.pdf", "e")})


def lost(tmp_path, ledger, **more):
    left = unfinished(Storage(), str(tmp_path), ledger, **more)
    return "".join(uri[-5] for uri, _ in left.lost), left


def test_a_run_that_was_killed(runs, ledger, tmp_path):
    folder = runs(1, "in", "abcd")
    found, left = lost(tmp_path, ledger)
    assert found == "bd" and left.lost["/in/b.pdf", "e"] == (0, 2) and left.lost["/in/d.pdf", "e"] == ()
    assert (left.count, left.runs, left.unlisted, left.known) == (3, (folder,), (), True)


def test_a_manifest_that_has_changed_is_another_input(runs, ledger, tmp_path):
    runs(1, "in", "abd", listed="monday")
    runs(2, "in", "a", worklist.DONE, listed="tuesday")
    assert lost(tmp_path, ledger)[0] == "bd"
    runs(3, "in", "a", worklist.DONE, listed="monday")
    assert lost(tmp_path, ledger)[0] == ""


def test_a_version_that_a_later_run_met_no_more_is_not_missed(runs, ledger, tmp_path):
    runs(1, "in", "bd", listed="monday")
    runs(2, "in", "d", worklist.DONE, listed="tuesday", etag="f")
    assert lost(tmp_path, ledger)[0] == "b"


def test_what_is_read_while_the_runs_are_listed_is_not_missed(runs, tmp_path, monkeypatch):
    folder, storage, listed = runs(1, "in", "e"), Storage(), worklist.runs

    def end_after(*where):
        found = listed(*where)
        with Committer.open(storage, OutputConfig(uri=str(tmp_path)), "r") as committer:
            committer.add([], [("/in/e.pdf", "e")])
            committer.close()
        return found

    assert lost(tmp_path, Ledger())[1].runs == (folder,)
    monkeypatch.setattr(worklist, "runs", end_after)
    assert lost(tmp_path, Ledger())[0] == ""


def test_a_run_of_other_inputs_does_not_make_up_for_it(runs, ledger, tmp_path):
    runs(1, "in", "bd")
    runs(2, "other", "a", "report.json", "done")
    runs(3, "in", "a", "report.json", "done", settings=worklist.RETRY_SETTINGS)
    assert lost(tmp_path, ledger)[0] == "bd"
    runs(4, "in", "d")
    assert lost(tmp_path, ledger)[0] == "d", "b is no more among the inputs"
    runs(5, "in", "", "report.json", "done")
    assert lost(tmp_path, ledger)[0] == ""


def test_other_pages_of_the_same_inputs(runs, ledger, tmp_path):
    runs(1, "in", "b", pages="3")
    runs(2, "in", "b", "report.json", "done", pages="2")
    found, left = lost(tmp_path, ledger)
    assert (found, left.lost["/in/b.pdf", "e"]) == ("b", (2,))


def test_inputs_of_the_same_name_in_another_folder(runs, ledger, tmp_path, monkeypatch):
    runs(1, "in", "bd")
    monkeypatch.chdir(tmp_path)
    runs(2, "in", "", "report.json", "done")
    assert lost(tmp_path, ledger)[0] == "bd"


def test_what_a_retry_left(runs, ledger, tmp_path):
    """d failed as a whole; a retry that was stopped has read page 0 of it."""
    folder = runs(1, "in", "abcd", "report.json", "done")
    ledger.held["/in/d.pdf", "e"] = 3, 0b1
    assert lost(tmp_path, ledger)[0] == ""
    ledger.reopened["/in/d.pdf", "e"] = 1
    found, left = lost(tmp_path, ledger)
    assert (found, left.lost["/in/d.pdf", "e"], left.runs) == ("d", (1, 2), (folder,))
    runs(2, "in", "", "report.json", "done")
    assert lost(tmp_path, ledger)[0] == "d", "a later run left it out, since it had failed"
    runs(3, "in", "x", settings=worklist.RETRY_SETTINGS)
    assert lost(tmp_path, ledger)[0] == "xd", "a version that the retry met"
    runs(4, "other", "y")
    assert lost(tmp_path, ledger)[0] == "yxd"
    assert lost(tmp_path, ledger, of_retries=True)[0] == "xd"
    ledger.failed["/in/d.pdf", "e"] = {None: FailureState(2, False, "FILE_TOO_LARGE", "fetch")}
    assert lost(tmp_path, ledger, of_retries=True)[0] == "x", "it has failed again"


def test_a_run_that_came_to_its_end_is_looked_at_where_it_is_asked_for(runs, ledger, tmp_path):
    runs(1, "in", "bd", "report.json", "done")
    assert lost(tmp_path, ledger)[0] == ""
    assert lost(tmp_path, ledger, recheck=True)[0] == "bd"
    runs(2, "other", "", "report.json", "done")
    assert lost(tmp_path, ledger, recheck=True)[0] == ""


def test_a_run_that_was_stopped_while_it_listed(runs, ledger, tmp_path):
    assert not lost(tmp_path, ledger)[1].known
    folder = runs(1, None, "", "report.json")
    left = lost(tmp_path, ledger)[1]
    assert (left.unlisted, left.known) == ((folder,), False)
    runs(2, "in", "a", "report.json", "done")
    assert not lost(tmp_path, ledger)[1].unlisted
    runs(3, "in", "a", "report.json", settings=worklist.RETRY_SETTINGS)
    runs(4, None, "", "manifest-00000.parquet")
    runs(5, None, "", "retry", "report.json")
    assert not lost(tmp_path, ledger)[1].unlisted, "two retries, and a run at work"
    folders = runs(7, None, "", "report.json"), runs(6, None, "", "report.json")
    assert lost(tmp_path, ledger)[1].unlisted == folders


@pytest.mark.parametrize("body", [b"{}", b"[]", b"7", b'{"documents": 1}', b'{"a', b"\xff"])
def test_damaged_settings_are_named(runs, ledger, tmp_path, body):
    folder = runs(1, "in", "a")
    Storage().put(f"{folder}/config.json", body)
    with pytest.raises(OutputInconsistentError, match=r"-x/config\.json is not what a run left there") as caught:
        unfinished(Storage(), str(tmp_path), ledger)
    assert "Restore it from a backup" in caught.value.remedy
    with pytest.raises(OutputInconsistentError):
        worklist.last_settings(Storage(), str(tmp_path))


def test_a_damaged_manifest_is_named(runs, ledger, tmp_path):
    path = Path(runs(1, "in", "abcd"), "manifest-00000.parquet")
    body = path.read_bytes()
    pq.write_table(pa.table({"other": [1]}), path)
    for damaged in (body[:300], b"", body[:4] + bytes(200) + body[204:], path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(OutputInconsistentError, match=r"manifest-00000\.parquet is not what a run left there"):
            unfinished(Storage(), str(tmp_path), ledger)
    path.write_bytes(body[:300])
    with pytest.raises(OutputInconsistentError, match=r"manifest-00000\.parquet is not what a run left there"):
        worklist.extra_fields(worklist.ManifestFile(str(path)), Storage())


def test_a_manifest_that_is_gone_is_missed(runs, ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(worklist, "FILE_ROWS", 2)
    folder = Path(runs(1, "in", "abcd"))
    for name in ("manifest-00000.parquet", "manifest-00001.parquet"):
        (folder / name).unlink()
        with pytest.raises(OutputInconsistentError, match=r"manifest-00000\.parquet is gone"):
            unfinished(Storage(), str(tmp_path), ledger)


def test_a_run_that_had_nothing_to_read_misses_no_manifest(runs, ledger, tmp_path):
    runs(1, "in", "")
    assert lost(tmp_path, ledger)[0] == ""


def test_no_secret_is_left(runs, tmp_path):
    runs(1, "in", "a")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
