"""What PaddleX 3.7.0 makes of a drawn map, to the pixel: post-processing, reading order, crops.

The expected values came from its DBPostProcess, SortQuadBoxes, CropByPolys and OCRReisizeNormImg, opencv 4.10.0.84.
"""

import hashlib

import cv2
import numpy as np
import pytest

from ocrbatch.config import DetectionConfig
from ocrbatch.detection.postprocess import regions
from ocrbatch.geometry import reading_order, rectify
from ocrbatch.recognition.preprocess import crop

HEIGHT, WIDTH = 400, 630
LINES = [
    ((70, 40), (90, 14), 8),
    ((230, 60), (120, 18), -13),
    ((160, 130), (200, 10), 0),
    ((40, 150), (12, 60), 3),
    ((280, 160), (30, 9), 45),
    ((150, 90), (20, 3), 0),
]
SCORES = [0.777, 0.7884, 0.8238, 0.8375, 0.8531, 0.8859]
QUADS = [
    [32, 31, 251, 61, 242, 134, 23, 103],
    [301, 114, 582, 44, 602, 134, 322, 204],
    [272, 179, 321, 179, 321, 198, 272, 198],
    [54, 230, 111, 234, 101, 393, 44, 389],
    [104, 246, 526, 246, 526, 296, 104, 296],
    [537, 285, 597, 348, 565, 381, 506, 319],
]
UPRIGHT = [(73, 222), (92, 290), (19, 49), (57, 159), (50, 422), (45, 88)]
UPRIGHT_SHA256 = ["152641e00899", "683d06743153", "44f3f73a1a8a", "2642d6192c4d", "99528c936f5d", "9b52fc4a081b"]
# Sums over what PaddleX feeds its model; its padding is 0 there.
CROP_SUMS = [-194.1094, 225.8906, 3634.5808, 70.6906, -987.0502, -356.4468]


@pytest.fixture(scope="module")
def found():
    drawn = np.zeros((192, 320), np.float32)
    for line in LINES:
        cv2.fillPoly(drawn, [np.rint(cv2.boxPoints(line)).astype(np.int32)], (0.95,))
    return regions(cv2.GaussianBlur(drawn, (5, 5), 1.0), WIDTH, HEIGHT, DetectionConfig())


@pytest.fixture(scope="module")
def page():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([(x * 7 + y * 3) % 256, (x * y) % 251, (x + y * 5) % 256], axis=-1).astype(np.uint8)


def test_scores(found):
    assert sorted(round(region.score, 4) for region in found) == SCORES


def test_quads_in_reading_order(found):
    quads = [region.polygon for region in found]
    assert [quads[i].reshape(-1).tolist() for i in reading_order(quads)] == QUADS


def test_upright_images(page):
    images = [rectify(page, np.array(quad, np.int32).reshape(4, 2)) for quad in QUADS]
    assert [image.shape[:2] for image in images] == UPRIGHT
    assert [hashlib.sha256(np.ascontiguousarray(c).tobytes()).hexdigest()[:12] for c in images] == UPRIGHT_SHA256


def test_crops(page):
    for quad, expected in zip(QUADS, CROP_SUMS, strict=True):
        pixels = crop(page, np.array(quad, np.int32).reshape(4, 2)).astype(np.float32)
        assert float(((pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)).sum()) == pytest.approx(
            expected, abs=0.05
        )
