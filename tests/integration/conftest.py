"""Pages for the real command, what they hold, and an end for every process that a test leaves behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from command import FAKE, PAGES, SLOW, Command
from dataset import bar_pages, content, job, rows


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bar_pages(tmp_path_factory.mktemp("pages"), PAGES)


@pytest.fixture(scope="session")
def clean(pages: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> list[dict]:
    """What an undisturbed run gives."""
    output = tmp_path_factory.mktemp("clean")
    assert job(output, f"input.uris=[{pages}]", *FAKE).exit_code == 0
    found = content(rows(output))
    assert len(found) == PAGES
    return found


@pytest.fixture
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Command]]:
    """Starts the command."""
    started: list[Command] = []

    def start(source: object, output: object, *words: str, settings: Sequence[str] = SLOW) -> Command:
        started.append(Command(tmp_path_factory.mktemp("command"), source, output, settings, words))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
