"""The detector around an engine that sees ink: what goes in and out, and which pages go together."""

import numpy as np
import pytest

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.detector import Detector
from ocrbatch.engines.base import Engine


class InkEngine(Engine):
    """Calls every dark pixel text. Remembers the shapes it was given."""

    def __init__(self):
        self.shapes = []

    def run(self, pixels):
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        self.shapes.append(pixels.shape)
        return ((pixels.max(axis=3) < 128).astype(np.float32),)


def page(height, width, *lines):
    image = np.full((height, width, 3), 255, np.uint8)
    for x, y, w, h in lines:
        image[y : y + h, x : x + w] = 0
    return image


def boxes(regions):
    return [[*region.polygon.min(axis=0).tolist(), *region.polygon.max(axis=0).tolist()] for region in regions]


def test_regions_are_the_pages_in_reading_order():
    image = page(320, 640, (400, 100, 120, 20), (50, 105, 120, 20), (50, 30, 200, 20))
    (regions,) = Detector(InkEngine(), DetectionConfig()).detect([image])
    starts = [box[:2] for box in boxes(regions)]
    assert [x for x, _ in starts] == pytest.approx([37, 37, 387], abs=4)
    assert [y for _, y in starts] == pytest.approx([17, 92, 87], abs=4)


def test_coordinates_stay_the_pages_when_it_is_resized():
    lines = ((100, 60, 300, 30),)
    same, resized = Detector(InkEngine(), DetectionConfig()).detect([page(320, 640, *lines), page(330, 650, *lines)])
    assert boxes(resized)[0] == pytest.approx(boxes(same)[0], abs=3)


def test_colours_reach_the_engine_as_bgr():
    class Keep(InkEngine):
        def run(self, pixels):
            self.pixels = pixels
            return super().run(pixels)

    engine = Keep()
    Detector(engine, DetectionConfig()).detect([np.full((64, 64, 3), (10, 20, 30), np.uint8)])
    assert (engine.pixels == (30, 20, 10)).all()


def test_each_page_goes_alone_at_its_own_size():
    engine = InkEngine()
    images = [page(64, 96, (10, 10, 60, 20)), page(128, 64), page(65, 97), page(127, 66, (5, 5, 50, 50))]
    found = Detector(engine, DetectionConfig()).detect(images)
    assert engine.shapes == [(1, 64, 96, 3), (1, 128, 64, 3), (1, 64, 96, 3), (1, 128, 64, 3)]
    assert [len(regions) for regions in found] == [1, 0, 0, 1]


def test_together_pages_of_one_size_share_calls_and_read_as_alone():
    images = [
        page(64, 96, (10, 10, 60, 20)),
        page(128, 64),
        page(65, 97, (20, 30, 40, 12)),
        page(127, 66),
        page(64, 96),
    ]
    alone = Detector(InkEngine(), DetectionConfig()).detect(images)
    engine = InkEngine()
    detector = Detector(engine, DetectionConfig(batch_pixels=2 * 64 * 96 + 1), together=True)
    found = detector.detect(images)
    assert engine.shapes == [(2, 64, 96, 3), (1, 64, 96, 3), (1, 128, 64, 3), (1, 128, 64, 3)]
    assert [len(regions) for regions in found] == [1, 0, 1, 0, 0]
    for mine, expected in zip(found, alone, strict=True):
        assert boxes(mine) == boxes(expected)
        assert [region.score for region in mine] == [region.score for region in expected]
    assert detector.detect([]) == []


def test_no_more_contours_than_the_models_config_says_are_looked_at():
    image = page(320, 640, (50, 30, 200, 20), (50, 105, 120, 20), (400, 100, 120, 20))
    (regions,) = Detector(InkEngine(), DetectionConfig(), max_candidates=2).detect([image])
    assert len(regions) == 2
    assert min(top for _, top, _, _ in boxes(regions)) > 60  # contours come from the bottom up


def test_no_page_and_a_blank_page_are_no_trouble():
    detector = Detector(InkEngine(), DetectionConfig())
    assert detector.detect([]) == []
    assert detector.detect([page(64, 64)]) == [[]]


def test_a_tiny_page_has_its_regions_within_itself():
    # On its black canvas all but the page is ink for this engine; nothing of that may lie beyond the page.
    (regions,) = Detector(InkEngine(), DetectionConfig()).detect([page(14, 30, (5, 4, 20, 6))])
    assert regions
    assert all(0 <= left < r <= 30 and 0 <= t < b <= 14 for left, t, r, b in boxes(regions))


class SpeckEngine(Engine):
    """Sees one speck of 8 x 8 pixels in every map."""

    def __init__(self):
        pass

    def run(self, pixels):
        found = np.zeros(pixels.shape[:3], np.float32)
        found[:, 20:28, 100:108] = 1
        return (found,)


def test_regions_of_less_than_a_pixel_are_dropped():
    (regions,) = Detector(SpeckEngine(), DetectionConfig()).detect([page(64, 200)])
    assert len(regions) == 1
    (regions,) = Detector(SpeckEngine(), DetectionConfig()).detect([page(2, 90)])  # enlarged 32 times
    assert regions == []
