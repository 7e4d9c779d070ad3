"""Normalisation has PaddleX's bits, and reduction finds the best class."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ocrbatch.engines.host import best_classes, filled, normalise, one_by_one, reduced, tables
from ocrbatch.models.weights import Weights

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.just(3)))
DETECTION = Weights("d", "map", "onnx", "", "", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255)
RECOGNITION = Weights("r", "ctc", "onnx", "", "", (0.5,) * 3, (0.5,) * 3, 1 / 255)


def paddlex_detection(image: np.ndarray) -> np.ndarray:
    """NormalizeImage of PaddleX 3.7, order hwc, then ToCHWImage."""
    scale, mean, std = 1.0 / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    alpha = [scale / std[i] for i in range(3)]
    beta = [-mean[i] / std[i] for i in range(3)]
    planes = list(cv2.split(image))
    for c in range(3):
        planes[c] = planes[c].astype(np.float32)
        planes[c] *= alpha[c]
        planes[c] += beta[c]
    return cv2.merge(planes).transpose((2, 0, 1))


def paddlex_recognition(image: np.ndarray) -> np.ndarray:
    """The normalisation in OCRReisizeNormImg of PaddleX 3.7."""
    found = image.astype("float32").transpose((2, 0, 1)) / 255
    found -= 0.5
    found /= 0.5
    return found


@pytest.mark.parametrize(
    ("weights", "reference"), [(DETECTION, paddlex_detection), (RECOGNITION, paddlex_recognition)], ids=["map", "ctc"]
)
def test_every_byte_has_paddlex_bits(weights: Weights, reference: object) -> None:
    image = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16).T] * 3, axis=2)
    image[:, :, 1] = image[::-1, :, 1]
    image[:, :, 2] = image[:, ::-1, 2]
    found = normalise(image[None], tables(weights), 1)
    assert found.dtype == np.float32
    assert found[0].tobytes() == np.ascontiguousarray(reference(image)).tobytes()  # type: ignore[operator]


@given(IMAGES, st.integers(0, 3))
def test_rows_beyond_the_batch_are_zero(pixels: np.ndarray, more: int) -> None:
    found = normalise(pixels, tables(RECOGNITION), len(pixels) + more)
    assert found.shape == (len(pixels) + more, 3, *pixels.shape[1:3])
    assert not found[len(pixels) :].any()
    assert np.allclose(found[: len(pixels)], (pixels.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5, atol=1e-6)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_the_best_class_is_the_first_of_the_largest(probabilities: np.ndarray) -> None:
    classes, values = best_classes(probabilities)
    assert (classes.dtype, values.dtype) == (np.int32, np.float32)
    for b, t in np.ndindex(classes.shape):
        row = probabilities[b, t].tolist()
        assert values[b, t] == max(row)
        assert classes[b, t] == row.index(max(row))


@given(st.integers(1, 20), st.integers(1, 9))
def test_calls_of_a_fixed_size_hold_every_row_once(count: int, rows: int) -> None:
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    for calls, size in ((filled(pixels, rows), rows), (one_by_one(pixels), 1)):
        assert {needed for _, needed in calls} == {size}
        assert all(len(part) <= size for part, _ in calls)
        assert np.array_equal(np.concatenate([part for part, _ in calls]), pixels)


def test_calls_are_joined_to_one_batch() -> None:
    found = np.random.default_rng(0).random((5, 1, 4, 6), np.float32)
    (maps,) = reduced("map", [found[:2], found[2:]])
    assert np.array_equal(maps, found[:, 0])
    classes, values = reduced("ctc", [found[:2, 0], found[2:, 0]])
    assert np.array_equal(classes, found[:, 0].argmax(axis=2)) and np.array_equal(values, found[:, 0].max(axis=2))
