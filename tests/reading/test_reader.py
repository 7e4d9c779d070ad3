"""The reader's parts in a row, and what each task makes of a page; with real weights on pages drawn here."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_pages import page

from ocrbatch.config import JobConfig, fingerprint, load
from ocrbatch.engines import gpu, registry
from ocrbatch.models.registry import resolve
from ocrbatch.reading.reader import Detected, Reader, models_of, resolved, weights
from ocrbatch.records import Region

pytestmark = pytest.mark.models


def config(*items):
    return load(overrides=["engine.name=onnxruntime", "engine.threads=1", *items])


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
    found = [reading for image in PAGES for reading in recognizer.recognize(detector.detect([image]))]
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


class Scores:
    """A recognizer that says the same of any two crops."""

    def recognize(self, crops):
        return [("a", 0.5), ("", 0.0)]


@pytest.mark.parametrize(("thresh", "kept"), [(0.0, 2), (0.5, 1)])
def test_lines_below_score_thresh_are_rejected_with_their_polygons(thresh, kept):
    regions = [Region(np.zeros((4, 2), np.int32), 0.9), Region(np.ones((4, 2), np.int32), 0.8)]
    page = Detected(regions, [np.zeros((48, 64, 3), np.uint8)] * 2)
    found = Reader(config(f"recognition.score_thresh={thresh}"), None, Scores()).recognize([page])
    lines = [("a", 0.5, [[0, 0]] * 4, 0.9), ("", 0.0, [[1, 1]] * 4, 0.8)]
    assert plain(found) == [[lines[:kept], lines[kept:]]]


def test_what_is_resolved_enters_the_fingerprint():
    found = resolved(config())
    assert set(found["weights"]) == {"detection", "recognition"}
    assert all(len(sha) == 64 for sha in found["weights"].values())
    assert found["engine"] and found["decoders"] and found["cv2"] == cv2.__version__
    other = {**found, "weights": {**found["weights"], "detection": "0" * 64}}
    assert fingerprint(config(), found) == fingerprint(config(), resolved(config())) != fingerprint(config(), other)
    assert set(resolved(config("task=detect"))["weights"]) == {"detection"}


@pytest.fixture
def folder(tmp_path):
    """A detection model of one's own, in both formats."""
    found = tmp_path / "mine"
    found.mkdir()
    official = Path(resolve("PP-OCRv6_tiny_det").path)
    shutil.copy(official, found / "inference.onnx")
    shutil.copy(official.parent / "inference.yml", found)
    for name in ("inference.json", "inference.pdiparams"):
        (found / name).write_bytes(b"{}")
    return found


@pytest.mark.parametrize(("engine", "expected"), [("onnxruntime", "onnx"), ("paddle", "paddle")])
def test_of_two_formats_the_engines_own_is_taken(monkeypatch, folder, engine, expected):
    monkeypatch.setattr(registry, "installed", lambda name, device="cpu": True)
    given = config(f"engine.name={engine}", "engine.device=cpu", f"detection.model_dir={folder}")
    assert weights(given, "detection").format == expected


def test_models_are_named_as_they_are(folder):
    assert models_of(config()) == ["PP-OCRv6_small_det", "PP-OCRv6_small_rec"]
    assert models_of(config("task=recognize")) == ["PP-OCRv6_small_rec"]
    assert models_of(config(f"detection.model_dir={folder}")) == ["PP-OCRv6_tiny_det", "PP-OCRv6_small_rec"]


def test_the_size_of_a_gpus_calls_enters_the_fingerprint_and_a_cpus_does_not(monkeypatch):
    other = config("recognition.batch_pixels=512")
    assert resolved(other) == resolved(config())
    monkeypatch.setattr(registry, "installed", lambda name, device="cpu": True)
    monkeypatch.setattr(gpu, "_names", lambda: ("NVIDIA H200",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert resolved(other) != resolved(config())


def test_threads_are_kept_by_opencv_too():
    before = cv2.getNumThreads()
    try:
        Reader.load(JobConfig(task="detect", engine={"name": "onnxruntime"}), threads=1)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
