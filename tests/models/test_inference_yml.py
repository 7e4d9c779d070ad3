"""How a model's own config becomes a Preparation."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.errors import ModelError
from ocrbatch.models import inference_yml

DETECTION = """
Global: {model_name: some_det}
PreProcess:
  transform_ops:
  - DecodeImage: {img_mode: BGR}
  - DetResizeForTest: null
  - NormalizeImage: {mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6], scale: %s, order: hwc}
  - ToCHWImage: null
PostProcess: {name: DBPostProcess%s}
"""
RECOGNITION = """
PreProcess:
  transform_ops: [{RecResizeImg: {image_shape: [3, %d, 320]}}]
PostProcess: {name: CTCLabelDecode, character_dict: ['a', '1', "\\u3000", "\\u2028"]}
"""


def read(tmp_path: Path, text: str) -> inference_yml.Preparation:
    path = tmp_path / "inference.yml"
    path.write_text(text, encoding="utf8")
    return inference_yml.read(path)


@pytest.mark.parametrize("scale", ["1./255.", "1.0/255", "0.00392156862745098", '"1./255."'])
def test_detection_takes_the_scale_as_text_or_number(tmp_path: Path, scale: str) -> None:
    found = read(tmp_path, DETECTION % (scale, ""))
    assert found.name == "some_det"
    assert found.head == "map"
    assert found.mean == (0.1, 0.2, 0.3)
    assert found.std == (0.4, 0.5, 0.6)
    assert found.scale == pytest.approx(1 / 255, abs=1e-12)


@pytest.mark.parametrize(
    ("post", "expected"),
    [("", 1000), (", max_candidates: 3000, thresh: 0.2", 3000), (", score_mode: fast, use_dilation: false", 1000)],
)
def test_the_number_of_candidates_is_the_models_else_paddlexs(tmp_path: Path, post: str, expected: int) -> None:
    assert read(tmp_path, DETECTION % ("1", post)).max_candidates == expected


def test_recognition_has_blank_first_and_space_last(tmp_path: Path) -> None:
    found = read(tmp_path, RECOGNITION % 48)
    assert found.head == "ctc"
    assert found.characters == ("blank", "a", "1", "\u3000", "\u2028", " ")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (RECOGNITION % 32, "48 rows"),
        (DETECTION % ("__import__('os').getcwd()", ""), "not a number"),
        (DETECTION % ("1", ", use_dilation: true"), "use_dilation True"),
        (DETECTION % ("1", ", score_mode: slow"), "score_mode 'slow'"),
        (DETECTION % ("1", ", box_type: poly"), "box_type 'poly'"),
        ("PostProcess: {name: ClsPostProcess}\nPreProcess: {transform_ops: []}", "neither text detection"),
        ("PreProcess: {transform_ops: []}", "PostProcess"),
        ("[1, 2", "can't use"),
        ("- a list", "can't use"),
        ("!!python/object/apply:os.getcwd []", "can't use"),
    ],
)
def test_what_it_cannot_use_is_named(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(ModelError, match=cause) as caught:
        read(tmp_path, text)
    assert "inference.yml" in str(caught.value)
    assert caught.value.remedy


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_a_list_of_characters_is_read_line_by_line(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("characters") / "dict.txt"
    for ending in ("\n", ""):
        path.write_bytes(("\n".join(lines) + ending).encode())
        assert inference_yml.read_characters(path) == lines
