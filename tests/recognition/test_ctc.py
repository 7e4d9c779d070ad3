"""Greedy CTC decoding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrbatch.recognition.ctc import decode

CHARACTERS = ("", "a", "b", "c", " ")


def read(classes, probabilities=None):
    steps = np.array([classes], np.int32)
    scores = np.ones(steps.shape, np.float32) if probabilities is None else np.array([probabilities], np.float32)
    (line,) = decode(steps, scores, CHARACTERS)
    return line


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ([1, 1, 2], "ab"),
        ([1, 0, 1], "aa"),
        ([0, 0, 1, 1, 0, 2, 2, 2, 0], "ab"),
        ([1, 4, 2], "a b"),
        ([0, 0, 0], ""),
        ([], ""),
    ],
)
def test_runs_are_one_character_and_blanks_part_them(classes, text):
    assert read(classes)[0] == text


def test_the_score_is_the_mean_over_each_runs_first_step():
    assert read([0, 1, 1, 0, 2], [0.1, 0.5, 0.9, 0.2, 0.7]) == ("ab", pytest.approx(0.6))


def test_nothing_read_scores_zero():
    assert read([0, 0], [0.99, 0.99]) == ("", 0.0)


def plain(classes):
    kept, before = [], None
    for c in classes:
        if c not in (before, 0):
            kept.append(CHARACTERS[c])
        before = c
    return "".join(kept)


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(lambda t: st.lists(st.lists(st.integers(0, 4), min_size=t, max_size=t), min_size=1)))
def test_a_batch_reads_as_its_lines_one_by_one(lines):
    steps = np.array(lines, np.int32)
    scores = np.linspace(0, 1, steps.size, dtype=np.float32).reshape(steps.shape)
    together = decode(steps, scores, CHARACTERS)
    assert [text for text, _ in together] == [plain(line) for line in lines]
    assert together == [decode(steps[i : i + 1], scores[i : i + 1], CHARACTERS)[0] for i in range(len(lines))]
