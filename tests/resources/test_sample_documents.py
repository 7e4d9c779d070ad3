"""The committed samples are what their README says, and their maker still makes them."""

import json
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from make_documents import DOCUMENTS, PASSWORD, make
from PIL import Image, ImageOps

HERE = Path(__file__).parent
DOCS, BROKEN = HERE / "documents", HERE / "broken"


@pytest.fixture(scope="module")
def truth() -> dict[str, list[list[str]]]:
    return json.loads((HERE / "documents-truth.json").read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remade")
    make(folder)
    return folder


def page_count(path: Path) -> int:
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            return len(document)
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_document_has_its_truth_and_its_line_in_the_readme(truth: dict[str, list[list[str]]]) -> None:
    files = {path.name for path in DOCS.iterdir()}
    assert files == set(truth) | {"notes.txt"} == set(DOCUMENTS) | {"notes.txt"}
    readme = (HERE / "README.md").read_text(encoding="utf8")
    for path in [*DOCS.iterdir(), *BROKEN.iterdir()]:
        assert f"| `{path.name}` |" in readme
    assert all(pages and all(lines for lines in pages) for pages in truth.values())


def test_page_counts(truth: dict[str, list[list[str]]]) -> None:
    counts = {name: page_count(DOCS / name) for name in truth}
    assert counts == {name: len(pages) for name, pages in truth.items()}
    assert sum(counts.values()) == 11


def test_the_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 1_500_000


def test_the_maker_makes_the_same_again(remade: Path, truth: dict[str, list[list[str]]]) -> None:
    assert json.loads((remade / "documents-truth.json").read_text(encoding="utf8")) == truth
    for folder in ("documents", "broken"):
        assert names(remade / folder) == names(HERE / folder)
    for name in truth:
        assert page_count(remade / "documents" / name) == page_count(DOCS / name)
    # Pixels may differ a little with Pillow's FreeType and JPEG library; the drawing itself may not.
    new, old = (np.asarray(Image.open(folder / "invoice.png"), np.int16) for folder in (remade / "documents", DOCS))
    assert new.shape == old.shape
    assert np.mean(np.abs(new - old) > 64) < 0.005


def test_the_scan_has_no_text_layer_and_the_agreement_has_one(truth: dict[str, list[list[str]]]) -> None:
    with pypdfium2.PdfDocument(DOCS / "minutes-scanned.pdf") as scan:
        assert [page.get_textpage().get_text_range() for page in scan] == ["", "", ""]
    with pypdfium2.PdfDocument(DOCS / "agreement.pdf") as agreement:
        assert [page.get_rotation() for page in agreement] == [0, 90]
        texts = [page.get_textpage().get_text_range().split("\r\n") for page in agreement]
    assert texts == truth["agreement.pdf"]


def test_the_images_are_of_the_kinds_they_stand_for() -> None:
    with Image.open(DOCS / "delivery-notes.tiff") as tiff:
        assert (tiff.mode, tiff.info["compression"]) == ("1", "group4")
    with Image.open(DOCS / "price-list-cmyk.jpg") as cmyk:
        assert cmyk.mode == "CMYK"
    with Image.open(DOCS / "letter-rotated.jpg") as letter:
        assert letter.getexif()[0x0112] == 6
        assert letter.width > letter.height
        upright = ImageOps.exif_transpose(letter)
        assert upright.height > upright.width
        # The letter ends in the upper two thirds: below, there is only paper.
        rows = np.asarray(upright).min(axis=1)
        assert rows[: upright.height // 2].min() < 100 < rows[-upright.height // 4 :].min()


def test_the_broken_files_are_broken() -> None:
    assert (BROKEN / "empty.png").stat().st_size == 0
    with pytest.raises(pypdfium2.PdfiumError, match="password"):
        pypdfium2.PdfDocument(BROKEN / "encrypted.pdf")
    with pypdfium2.PdfDocument(BROKEN / "encrypted.pdf", password=PASSWORD) as document:
        assert document[0].get_textpage().get_text_range() == "Salaries 2024\r\nFor the board only."
    with Image.open(BROKEN / "truncated.jpg") as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(BROKEN / "unknown.bin")
