"""Both layouts give a page at fault the same code, and leave its neighbours alone."""

import numpy as np
import pyarrow as pa
import pytest

from ocrbatch.config import fingerprint, load
from ocrbatch.reading.reader import resolved
from ocrbatch.stages.base import FAILURE, PAGE, ROW, binary_column
from ocrbatch.stages.detect import DetectStage
from ocrbatch.stages.read import ReadStage
from ocrbatch.stages.recognize import LINES, RecognizeStage

pytestmark = pytest.mark.models

PAPER, MARKER = (250, 250, 250), (200, 210, 220)  # RGB; the engine sees BGR


def page(corner, background):
    """A dark bar, which the fake engine finds; its crop begins with the background, the page with the corner."""
    image = np.full((64, 160, 3), background, np.uint8)
    image[24:40, 40:120] = 0
    image[0, 0] = corner
    return image


SOUND, NOT_FOUND, NOT_READ = page(PAPER, PAPER), page(MARKER, PAPER), page(PAPER, MARKER)


def stages(layout, fault):
    settings = {"fault": fault, "marker": list(reversed(MARKER))}
    config = load(overrides=["engine.name=fake", f"engine.options={settings}"])
    kinds = {"fused": [ReadStage], "split": [DetectStage, RecognizeStage]}[layout]
    return [kind(config, fingerprint(config, resolved(config)), 1) for kind in kinds]


def rows(*images):
    pages = ({"uri": f"{n}.png", "height": i.shape[0], "width": i.shape[1]} for n, i in enumerate(images))
    table = pa.Table.from_pylist([{"outcome": PAGE} | page for page in pages], schema=ROW)
    return table.append_column("image", binary_column(images))


def read(layout, fault, *images):
    table = rows(*images)
    for stage in stages(layout, fault):
        table = stage.rows(table)
    return table


@pytest.mark.parametrize("fault", ["raise", "nan"])
@pytest.mark.parametrize("layout", ["fused", "split"])
def test_a_page_at_fault_has_the_code_of_the_step_that_failed(layout, fault):
    found = read(layout, fault, SOUND, NOT_FOUND, SOUND, NOT_READ, NOT_READ, SOUND)
    codes = [failure and failure["code"] for failure in found["failure"].to_pylist()]
    assert codes == [None, "DETECT_FAILED", None, "RECOGNIZE_FAILED", "RECOGNIZE_FAILED", None]
    assert [outcome == FAILURE for outcome in found["outcome"].to_pylist()] == [code is not None for code in codes]
    texts = found["texts"].to_pylist()
    assert len(texts[0]) == 1 and texts[0] == texts[2] == texts[5]


def test_both_layouts_give_the_same_lines():
    images = [SOUND, np.full((64, 64, 3), 255, np.uint8), page(PAPER, (255, 255, 255)), np.tile(SOUND, (2, 1, 1))]
    fused, split = (read(layout, "raise", *images).select(LINES.names) for layout in ("fused", "split"))
    assert fused.equals(split)
    assert [len(texts) for texts in fused["texts"].to_pylist()] == [1, 0, 1, 2]
