"""Folders for copies: gone with their process, however it ends."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ocrbatch.sources.scratch import PREFIX, Scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_away_with_its_object(temporary):
    scratch = Scratch()
    (scratch.path / "page.pdf").write_bytes(b"%PDF")
    assert scratch.path.parent == temporary
    scratch.close()
    scratch.close()
    assert list(temporary.iterdir()) == []


def test_two_that_live_keep_theirs():
    first, second = Scratch(), Scratch()
    assert first.path.exists() and second.path.exists() and first.path != second.path


def test_what_a_killed_process_left_is_cleared_by_the_next(temporary):
    code = (
        "import time; from ocrbatch.sources.scratch import Scratch; "
        "s = Scratch(); print(s.path, flush=True); time.sleep(99)"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        left = Path(process.stdout.readline().strip())
        assert left.parent == temporary
        (left / "copy.tif").write_bytes(b"II*")
        other = Scratch()
        assert (left / "copy.tif").exists(), "its process lives"
        process.send_signal(signal.SIGKILL)
    kept = Scratch()
    assert not left.exists()
    assert other.path.exists() and kept.path.exists()


def test_folders_of_others_stay(temporary):
    (temporary / f"{PREFIX}notes").mkdir()
    Scratch().close()
    assert (temporary / f"{PREFIX}notes").exists()


def test_a_folder_that_another_user_holds_is_passed_over(temporary, monkeypatch):
    theirs = temporary / f"{PREFIX}theirs"
    theirs.mkdir()
    opened = os.open

    def denied(path, *how):
        if Path(path).parent == theirs:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *how)

    monkeypatch.setattr(os, "open", denied)
    assert Scratch().path != theirs
    assert theirs.exists()


def test_a_disk_without_locks_is_an_error_and_no_endless_loop(temporary, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OSError, match="No locks"):
        Scratch()
    assert len(list(temporary.iterdir())) <= 1
