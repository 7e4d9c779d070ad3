"""A worker that dies natively: its page becomes a failure, its neighbours rows, and the job ends."""

import cv2
import numpy as np
import pytest
from dataset import content, job, rows

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]

MARKER = (1, 2, 3)  # B, G, R of the first pixel


@pytest.fixture
def pages(tmp_path):
    """Twelve small pages with a bar of text each."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        page = np.full((64, 160, 3), 255, np.uint8)
        page[24:40, 16 : 40 + 8 * number] = 0
        cv2.imwrite(str(folder / f"{number:02d}.png"), page)
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize("layout", ["fused", "split"])
def test_a_page_that_kills_its_worker_is_one_failure(pages, tmp_path, layout):
    fake = ["engine.name=fake", f"input.uris=[{pages}]", f"pipeline.layout={layout}"]
    job(tmp_path / "clean", *fake)
    clean = content(rows(tmp_path / "clean"))
    assert len(clean) == 12

    poison = cv2.imread(str(pages / "07.png"))
    poison[0, 0] = MARKER
    cv2.imwrite(str(pages / "07.png"), poison)
    output = tmp_path / "out"
    report = job(output, *fake, f"engine.options={{fault: crash, marker: {list(MARKER)}}}")
    assert report.exit_code == 3
    assert report.failures == {"WORKER_CRASHED": 1}
    assert [row["uri"].rsplit("/", 1)[-1] for row in rows(output, "failures")] == ["07.png"]
    picked = [row[:-1] for row in content(rows(output))]  # the fingerprint knows of the engine's options
    assert picked == [row[:-1] for row in clean if row[0] != "07.png"]


def test_a_page_that_hangs_is_one_failure(pages, tmp_path):
    poison = cv2.imread(str(pages / "05.png"))
    poison[0, 0] = MARKER
    cv2.imwrite(str(pages / "05.png"), poison)
    hang = [f"engine.options={{fault: hang, marker: {list(MARKER)}}}", "engine.timeout=0.5", "pipeline.page_batch=4"]
    report = job(tmp_path / "out", f"input.uris=[{pages}]", "engine.name=fake", *hang)
    assert (report.exit_code, report.pages, report.failures) == (3, 11, {"WORKER_CRASHED": 1})
    assert [row["uri"].rsplit("/", 1)[-1] for row in rows(tmp_path / "out", "failures")] == ["05.png"]


def test_an_engine_that_raises_on_a_page_fails_that_page_only(pages, tmp_path):
    poison = cv2.imread(str(pages / "03.png"))
    poison[0, 0] = MARKER
    cv2.imwrite(str(pages / "03.png"), poison)
    options = f"engine.options={{fault: raise, marker: {list(MARKER)}}}"
    report = job(tmp_path / "out", f"input.uris=[{pages}]", "engine.name=fake", options, "pipeline.layout=split")
    assert report.failures == {"DETECT_FAILED": 1}
    assert report.pages == 11
