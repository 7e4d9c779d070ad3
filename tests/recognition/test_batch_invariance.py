"""Real weights: a crop gives its text, and the same bits whatever batch, neighbours, order and number of threads."""

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocrbatch.config import EngineConfig, RecognitionConfig
from ocrbatch.engines.registry import choose, load
from ocrbatch.models.registry import resolve
from ocrbatch.recognition.recognizer import Recognizer

pytestmark = pytest.mark.models

TEXTS = [
    "1", "A", "No. 7", "Date", "Total", "12.50", "Tax 6%", "Subtotal", "12.50 EUR", "Thank you", "Invoice 2041",
    "Delivery address", "All goods remain our property",
]  # fmt: skip


def crop(text):
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.1, 2)
    image = np.full((48, wide + 16, 3), 255, np.uint8)
    cv2.putText(image, text, (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (20, 20, 20), 2, cv2.LINE_AA)
    return image


def noise(image):
    return np.random.default_rng(image.size).integers(0, 256, image.shape, np.uint8)


CROPS = [crop(text) for text in TEXTS]
CROPS += [noise(image) for image in CROPS]
EACH = list(range(len(CROPS)))
both_engines = pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])


@cache
def recognizer(engine, threads, batch_pixels):
    return Recognizer(loaded(engine, threads), weights().characters, RecognitionConfig(batch_pixels=batch_pixels))


@cache
def loaded(engine, threads):
    pytest.importorskip(engine)
    return load(choose(EngineConfig(name=engine, threads=threads)), weights())


@cache
def weights():
    return resolve("PP-OCRv6_small_rec")


@cache
def alone(engine):
    return [recognizer(engine, 1, 4096).recognize([one])[0] for one in CROPS]


@both_engines
def test_plain_text_is_read(engine):
    read = alone(engine)[: len(TEXTS)]
    assert [text for text, _ in read] == TEXTS
    assert all(score > 0.8 for _, score in read)


@both_engines
@settings(max_examples=30)
@given(
    picked=st.lists(st.integers(0, len(CROPS) - 1), min_size=1, max_size=16),
    batch_pixels=st.sampled_from([64, 700, 4096]),
    threads=st.sampled_from([1, 2]),
)
@example(EACH[::-1], 700, 1)
@example(EACH * 5, 4096, 1)  # five alike in one bucket: an engine may take four rows at a time, and the last one alone
def test_a_crop_reads_the_same_in_any_company(engine, picked, batch_pixels, threads):
    read = recognizer(engine, threads, batch_pixels).recognize([CROPS[i] for i in picked])
    assert read == [alone(engine)[i] for i in picked]
