"""A run that is stopped before it has read anything: what is left of it, and what is said of it."""

import json
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from ocrbatch.cli.main import main
from ocrbatch.config import load
from ocrbatch.errors import InterruptedRunError, StoppedEarlyError
from ocrbatch.pipeline import job as jobs
from ocrbatch.pipeline.resources import Cluster
from ocrbatch.records import Document
from ocrbatch.report.summary import RunReport
from ocrbatch.sinks.commit import Committer
from ocrbatch.sources.selection import Work
from ocrbatch.stages import write
from ocrbatch.storage import Storage


def interrupted():
    yield Work(Document("/in/c.pdf", "e"))
    raise InterruptedRunError("SIGINT", 2)


@contextmanager
def a_job(output, run):
    config, storage = load("", [f"output.uri={output}", "engine.device=cpu"]), Storage()
    identity = SimpleNamespace(config=config, fingerprint="f", engine="fake", models=["m"], why="")
    with Committer.open(storage, config.output, run) as committer:
        yield jobs.Job(identity, storage, committer, RunReport(run, str(output)), print, range, time.monotonic())


def stopped(output, run, work):
    """A run of which reading, or else listing, ends early."""
    with a_job(output, run) as job:
        with pytest.raises((InterruptedRunError, StoppedEarlyError)) as caught:
            job.read(work, SimpleNamespace(extra=[], listed=""), Cluster(2, 0, 1, False))
        job.stop(caught.value)


@pytest.mark.parametrize("listed", [[], [Work(Document("/in/a.pdf", "e")), Work(Document("/in/b.pdf", "e"))]])
def test_what_is_unread_stays_unfinished_when_a_later_run_is_stopped_while_it_lists(
    listed, tmp_path, capsys, monkeypatch
):
    def fail(*_, **__):
        raise StoppedEarlyError("no worker")

    monkeypatch.setattr(jobs, "build", fail)
    if listed:
        stopped(tmp_path, "20260101T000000-a", listed)
        assert main(["verify", str(tmp_path)]) == 5
        assert "/in/b.pdf" in capsys.readouterr().out
    stopped(tmp_path, "20260102T000000-b", interrupted())
    assert main(["verify", str(tmp_path)]) == 5
    said = capsys.readouterr().out
    assert "exactly once" not in said
    assert ("/in/b.pdf" in said) == bool(listed)


def test_a_signal_while_what_was_lost_is_written_down_is_one(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise InterruptedRunError("SIGTERM", 15)

    monkeypatch.setattr(write, "stage", interrupt)
    with a_job(tmp_path, "20260101T000000-a") as job, pytest.raises(InterruptedRunError):
        job._give_up([Work(Document("/in/a.pdf", "e"))])


def test_runs_follow_each_other_as_in_the_log_whatever_their_clocks_say(tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise StoppedEarlyError("no worker")

    monkeypatch.setattr(jobs, "build", fail)
    stopped(tmp_path, "20260102T000000-a", [Work(Document("/in/a.pdf", "e"))])
    stopped(tmp_path, "20260101T000000-b", [Work(Document("/in/b.pdf", "e"))])
    assert main(["verify", str(tmp_path)]) == 5
    said = capsys.readouterr().out
    assert "/in/b.pdf" in said and "/in/a.pdf" not in said, "which is no longer among the inputs"
    assert main(["status", str(tmp_path), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["last_run"]["run_id"] == "20260101T000000-b"
