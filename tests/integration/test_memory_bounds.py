"""What waits between two stages is bounded by batches, not by what there is to read, and so is what is spilled."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import Command
from dataset import rows
from waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.models]

COUNT = 40
SIDE = 1760
PAGE_BYTES = 3 * SIDE**2
PAGE_BATCH = 2
TIGHT = ["pipeline.layout=fused", f"pipeline.page_batch={PAGE_BATCH}", "pipeline.object_store_mb=80"]
# A page has two rows. A decoder that did not wait would be done long before the reader.
SLOW = ["engine.name=fake", "engine.options={seconds: 0.4}"]
# Two that the reader has in hand, two that wait for it, two of each of the decoder's two tasks, and one being made or
# on its way at either end.
BATCHES = 10


def spilled(folder: Path) -> int:
    """Bytes of the object store that lie on a disk now."""
    total = 0
    for path in folder.glob("ray/session_*/ray_spilled_objects*/**/*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # read back, and deleted
    return total


@pytest.mark.timeout(280)
def test_what_is_spilled_does_not_grow_with_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(COUNT):
        page = np.full((SIDE, SIDE, 3), 255, np.uint8)
        page[64:80, 64 : 128 + 8 * number] = 0
        cv2.imwrite(str(source / f"{number:03d}.png"), page)
    peak = 0
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # Ray's sockets need a short name
        monkeypatch.setenv("RAY_TMPDIR", folder)
        command = Command(tmp_path, source, output, [*TIGHT, *SLOW], ())

        def ended() -> bool:
            nonlocal peak
            peak = max(peak, spilled(Path(folder)))
            return command.poll() is not None

        until(ended, 240)
    assert command.returncode == 0, command.said
    assert len({row["uri"] for row in rows(output)}) == COUNT
    assert 0 < peak <= BATCHES * PAGE_BATCH * PAGE_BYTES < COUNT * PAGE_BYTES * 0.6
