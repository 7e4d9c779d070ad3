"""What a run leaves of each batch and each task, where there are many small pages: bounds that `make scale` times."""

import json

import numpy as np
import pytest
from dataset import job, rows
from PIL import Image

from ocrbatch.pipeline.worklist import GROUP_ROWS
from ocrbatch.stages.batches import GROWN, SHARE

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]

FRAMES, DOCUMENTS = 150, 20
PAGES = FRAMES * DOCUMENTS
PAGE_BATCH = 8


@pytest.fixture
def tiffs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    frames = []
    for number in range(FRAMES):
        pixels = np.full((64, 96, 3), 255, np.uint8)
        pixels[24:40, 16 : 24 + number % 64] = 0
        frames.append(Image.fromarray(pixels))
    for number in range(DOCUMENTS):
        frames[0].save(folder / f"{number:02d}.tiff", save_all=True, append_images=frames[1:])
    return folder


def parts(output):
    """The pages that each staged file held, in the order of the log, and how many records that took."""
    records = [json.loads(path.read_bytes()) for path in sorted((output / "_ocrbatch" / "log").glob("*.json"))]
    adds = [record for record in records if record["type"] == "add"]
    return [part["rows"] for add in adds for part in add["parts"]], len(records)


def test_many_small_pages_leave_few_files_and_no_batch_is_much_of_the_run(tiffs, tmp_path):
    output = tmp_path / "out"
    report = job(output, f"input.uris=[{tiffs}]", "engine.name=fake", "pipeline.decoders=1")
    assert (report.exit_code, report.pages) == (0, PAGES)
    assert len({(row["uri"], row["page_index"]) for row in rows(output)}) == len(rows(output)) == PAGES
    sizes, records = parts(output)
    assert sum(sizes) == PAGES
    tasks = -(-DOCUMENTS // GROUP_ROWS) + 4  # a short list is spread
    assert len(sizes) <= PAGES / PAGE_BATCH + tasks
    assert records <= 4 + report.seconds["read"] / 5, "a commit takes what has come in ten seconds"
    assert max(sizes) <= max(PAGE_BATCH, PAGES // SHARE) < PAGE_BATCH * GROWN
