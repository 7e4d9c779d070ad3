"""A run that finds nothing left: what it still does, all of it without Ray."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from dataset import DOCUMENTS, snapshot
from row_examples import failure_row, page_row

from ocrbatch.cli.main import main
from ocrbatch.config import OutputConfig, load
from ocrbatch.errors import InterruptedRunError
from ocrbatch.pipeline import run as pipeline
from ocrbatch.pipeline import worklist
from ocrbatch.records import Document
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.parquet import stage
from ocrbatch.sources.selection import Work
from ocrbatch.storage import Storage

pytestmark = pytest.mark.models


@pytest.fixture
def no_ray(monkeypatch):
    def session(*_):
        raise InterruptedRunError("SIGINT", 2)

    monkeypatch.setattr(pipeline, "session", session)


@pytest.fixture
def command(tmp_path, no_ray):
    """A run over one document, which can't start Ray: it ends with 130 where it would."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes((DOCUMENTS / "invoice.png").read_bytes())
    return ["run", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--set", "engine.name=fake"]


def hold(folder, name, *, closes=True, kind="pages"):
    """Commits a page of a document, or a failure."""
    storage, output, uri = Storage(), str(folder / "out"), str(folder / "in" / name)
    key = {"uri": uri, "etag": Storage().stat(uri).etag}
    row, schema = (page_row(**key), PAGES) if kind == "pages" else (failure_row(**key, retryable=False), FAILURES)
    with Committer.open(storage, OutputConfig(uri=output), "before") as committer:
        committer.add([stage(storage, output, committer.epoch, pa.Table.from_pylist([row], schema=schema), kind)])
        if closes:
            committer.close()


def told(output, capsys):
    """The exit codes of status and verify, and what they say."""
    capsys.readouterr()
    return main(["status", str(output)]), main(["verify", str(output)]), capsys.readouterr().out


def test_a_run_stopped_before_its_list_is_made_up_for(command, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(command) == 130
    (stopped,) = [folder for folder, _ in worklist.runs(Storage(), str(output))]
    *codes, said = told(output, capsys)
    assert codes == [5, 5]
    assert said.count(f"or, if it is not wanted any more, delete {stopped}") == 2
    assert main(["status", str(output), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["unfinished_runs"] == [stopped]
    hold(tmp_path, "a.png")
    assert told(output, capsys)[:2] == (5, 5)
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["outcome"], report["documents_listed"], report["documents_complete"]) == ("done", 1, 1)
    assert told(output, capsys)[:2] == (0, 0)
    before = snapshot(output)
    assert main(command) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert snapshot(output) == before


def test_what_a_run_was_stopped_at_is_made_up_for_where_it_is_gone(command, tmp_path, capsys):
    output, storage = tmp_path / "out", Storage()
    hold(tmp_path, "a.png")
    folder = worklist.folder_of(str(output), 1, "before")
    work = [Work(Document(str(tmp_path / "in" / name), "e")) for name in ("gone.png", "gone too.png")]
    list(worklist.write(work, [], storage, folder, 1))
    for asked, code in (("other", 5), ("in", 0)):
        given = [f"input.uris=[{tmp_path / asked}]", f"output.uri={output}"]
        worklist.write_settings(load("", given), storage, folder)
        assert told(output, capsys)[:2] == (5, 5)
        assert main(command) == 0
        assert told(output, capsys)[:2] == (code, code)


def test_a_stopped_retry_is_no_run_that_has_not_listed(command, tmp_path, capsys):
    output = tmp_path / "out"
    hold(tmp_path, "a.png")
    (tmp_path / "in/b.png").write_bytes(b"broken")
    hold(tmp_path, "b.png", kind="failures")
    storage, folder = Storage(), worklist.folder_of(str(output), 3, "before")
    list(worklist.write((), [], storage, folder, 1))
    worklist.write_settings(load("", [f"input.uris=[{tmp_path / 'in'}]", "engine.name=fake"]), storage, folder)
    storage.put(f"{folder}/{worklist.DONE}", b"")
    assert main(["retry", str(output)]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert json.loads(Path(worklist.runs(storage, str(output))[0][0], "report.json").read_text())["exit_code"] == 130
    assert told(output, capsys)[:2] == (3, 0)


def test_what_a_killed_run_committed_is_published(command, tmp_path, capsys):
    hold(tmp_path, "a.png", closes=False)
    assert told(tmp_path / "out", capsys)[:2] == (5, 5)
    assert main(command) == 0
    assert told(tmp_path / "out", capsys)[:2] == (0, 0)
    assert len(list((tmp_path / "out/pages").iterdir())) == 1


def test_nobody_in_a_cluster_is_asked(command, tmp_path, capsys, monkeypatch):
    hold(tmp_path, "a.png", closes=False)
    monkeypatch.setattr(pipeline, "stays_here", lambda _: False)
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["outcome"], report["fingerprint"], report["stale"]) == ("done", "", False)
    assert told(tmp_path / "out", capsys)[:2] == (0, 0)
    assert worklist.last_settings(Storage(), str(tmp_path / "out"))["engine"]["name"] == "fake"


def test_another_run_that_was_waited_for_has_read_all(command, tmp_path, monkeypatch):
    def opened(*given, **named):
        hold(tmp_path, "a.png")
        return Committer.open(*given, **named)

    monkeypatch.setattr(pipeline, "Committer", type("Late", (), {"open": staticmethod(opened)}))
    assert main(command) == 0
