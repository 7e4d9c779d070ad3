import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.evaluation.metrics import (
    CharacterAgreement,
    CharacterScore,
    WordF1,
    WordScore,
    character_agreement,
    edit_distance,
    words,
)

SHORT = st.text(alphabet="abé漢 ", max_size=12)


def edit_distance_by_table(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for i, x in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Total: 12.50 EUR", ["total", "12", "50", "eur"]),
        ("snake_case", ["snake", "case"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("\uff21\uff22\uff11", ["ab1"]),  # full width, by NFKC
        ("ﬁne", ["fine"]),  # a ligature
        ("東京tower2", ["東", "京", "tower2"]),
        ("ｶﾀ 한글 々", ["カ", "タ", "한", "글", "々"]),
        ("ñandú naïve", ["ñandú", "naïve"]),
        ("--- !", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_word_f1_counts_a_bag_a_page() -> None:
    score = WordF1()
    score.update("the cat the dog", "THE dog, dog bird")  # the, dog in both
    score.update("cat", "")  # a word of page 1 is no help on page 2
    assert score.summary() == WordScore(pages=2, matched=2, true=5, read=4)
    assert score.summary().precision == 2 / 4
    assert score.summary().recall == 2 / 5
    assert score.summary().f1 == pytest.approx(2 * 2 / 9)


def test_nothing_to_read_and_nothing_read_is_perfect() -> None:
    assert WordF1().summary().f1 == 1.0
    blank = WordF1()
    blank.update("", " - ")
    assert (blank.summary().f1, blank.summary().precision, blank.summary().recall) == (1.0, 1.0, 1.0)
    blank.update("", "ghost")
    assert (blank.summary().f1, blank.summary().precision, blank.summary().recall) == (0.0, 0.0, 1.0)


def test_a_summary_is_frozen() -> None:
    score = WordF1().summary()
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.matched = 3  # type: ignore[misc]


@given(st.lists(st.tuples(SHORT, SHORT), max_size=6), st.integers(0, 6))
def test_merge_equals_one_accumulator(pages: list[tuple[str, str]], cut: int) -> None:
    for kind in (WordF1, CharacterAgreement):
        whole, left, right = kind(), kind(), kind()
        for index, pair in enumerate(pages):
            whole.update(*pair)
            (left if index < cut else right).update(*pair)
        right.merge(left)
        assert right.summary() == whole.summary()


@given(st.text(max_size=20), st.text(max_size=20))
def test_f1_is_symmetric_and_within_bounds(first: str, second: str) -> None:
    there, back = WordF1(), WordF1()
    there.update(first, second)
    back.update(second, first)
    assert there.summary().f1 == back.summary().f1
    assert 0 <= there.summary().f1 <= 1
    assert there.summary().precision == back.summary().recall


@given(SHORT, SHORT)
def test_edit_distance_equals_the_table(first: str, second: str) -> None:
    assert edit_distance(first, second) == edit_distance_by_table(first, second)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("a" * 200, "a" * 199 + "b", 1), ("flaw", "lawn", 2)],
)
def test_edit_distance_known(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == distance


def test_edit_distance_of_pages_is_quick() -> None:
    first, second = "The quick brown fox. " * 200, "The quiet brown ox. " * 200
    start = time.perf_counter()
    distance = edit_distance(first, second)
    assert time.perf_counter() - start < 1  # measured: 0.006 s, and 2.7 s by the table
    assert distance == 600


def test_character_agreement() -> None:
    assert character_agreement("", "") == 1.0
    assert character_agreement("abcd", "abc") == 0.75
    both = CharacterAgreement()
    both.update("abcd", "abc")
    both.update("x" * 16, "x" * 16)
    assert both.summary() == CharacterScore(pairs=2, edits=1, characters=20)
    assert both.summary().agreement == 0.95
    assert CharacterAgreement().summary().agreement == 1.0
