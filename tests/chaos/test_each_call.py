"""The whole job on a small folder: whichever process makes the n-th call that changes the storage is killed there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from checker import Key, check, content
from grounds import Grounds
from pyarrow.fs import LocalFileSystem

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(7200)]

PAGES = 12
LEAST_CALLS = 20
FEW = ("pipeline.decoders=1", "pipeline.readers=1")  # workers, which take most of a small run's time to start
BROKEN: Key = ("broken.png", None)


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with closing(Grounds(tmp_path_factory.mktemp("calls"), {"fake": PAGES})) as grounds:
        (grounds.source("fake") / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
        yield grounds


def test_killed_before_and_after_each_call(grounds: Grounds, tmp_path: Path) -> None:
    files, source, nodes = LocalFileSystem(), grounds.source("fake"), grounds.nodes
    nodes.count_calls()
    assert grounds.run(source, tmp_path / "clean", *FEW) == 3
    calls, clean = nodes.calls, content(files, str(tmp_path / "clean"))
    assert calls >= LEAST_CALLS and len(clean) == PAGES
    wrong = {}
    codes = []
    for number in range(calls):
        for when in ("before", "after"):
            output = tmp_path / f"{number}-{when}"
            nodes.count_calls(number, when)
            codes.append(grounds.run(source, output, *FEW))
            nodes.count_calls()
            rerun = grounds.run(source, output, *FEW, name="rerun")
            found = dict(+check(files, str(output), set(clean), clean))
            if (rerun, found) != (3, {"failed": 1}):
                wrong[number, when] = rerun, found
    assert wrong == {}
    assert set(codes) <= {3, -signal.SIGKILL} and codes.count(-signal.SIGKILL) >= LEAST_CALLS
