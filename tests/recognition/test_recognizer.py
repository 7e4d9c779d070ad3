"""The recognizer around an engine that counts columns: places kept, padding counted."""

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
        yield from map(self.run, batches)

    def rows_computed(self, shape):
        return shape[0]


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


def test_rows_that_a_call_is_filled_up_with_are_padding():
    class InPairs(WidthEngine):
        def rows_computed(self, shape):
            return shape[0] + shape[0] % 2

    recognizer = Recognizer(InPairs(), InPairs.characters, RecognitionConfig())
    recognizer.recognize([blank(64), blank(64), blank(64), blank(96)])
    assert recognizer.fill == Fill(3 * 64 + 96, 4 * 64 + 2 * 96)


def test_no_call_is_left_running_when_a_result_is_none():
    closed = []

    class Broken(WidthEngine):
        def run_many(self, batches):
            try:
                for batch in batches:
                    yield self.run(batch)[:1]
            finally:
                closed.append(True)

    recognizer = Recognizer(Broken(), Broken.characters, RecognitionConfig())
    with pytest.raises(ValueError) as held:
        recognizer.recognize([blank(64)])
    assert closed, f"while {held} is held"
