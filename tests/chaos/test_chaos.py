"""Three storms, smaller than those of `make chaos`, and what the checker and the storms' plans are good for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checker import check, content, rows
from grounds import Grounds
from plan import FAKE_SEEDS, KILLS, KILLS_A_STORM, SEEDS, plan
from pyarrow.fs import LocalFileSystem

MARKER = [1, 2, 3]  # B, G, R of the first pixel
MARKED = ("0100-marked.png", "0300-marked.png", "0500-marked.png")  # one page in 200
PLANNED = {("a.pdf", 0), ("a.pdf", 1), ("b.png", 0)}


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with closing(Grounds(tmp_path_factory.mktemp("chaos"), {"fake": 600, "auto": 200})) as grounds:
        yield grounds


@pytest.mark.ray
@pytest.mark.s3
@pytest.mark.models
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [5, 40])
def test_a_storm_leaves_each_page_once(grounds: Grounds, seed: int) -> None:
    assert grounds.storm(plan(seed)).faults == []


@pytest.mark.ray
@pytest.mark.models
@pytest.mark.timeout(400)
def test_poison_harms_itself_only(grounds: Grounds, tmp_path: Path) -> None:
    """Documents that crash, hang and exhaust the decoder, and a page in 200 on which the engine kills its worker."""
    source, output = tmp_path / "in", tmp_path / "poisoned"
    shutil.copytree(grounds.source("fake"), source)
    for deed in ("crash", "hang", "eat"):
        (source / f"{deed}.png").write_bytes(f"POISON:{deed} ".encode())
    page = np.full((64, 256, 3), 255, np.uint8)
    page[0, 0] = MARKER
    for name in MARKED:
        cv2.imwrite(str(source / name), page)
    options = f"engine.options={{fault: crash, marker: {MARKER}}}"
    assert grounds.run(source, output, options, "documents.timeout=3", "documents.memory_mb=512") == 3
    files = LocalFileSystem()
    assert {key[0]: row["code"] for key, row in rows(files, f"{output}/failures")} == {
        "crash.png": "DECODE_CRASHED",
        "hang.png": "DECODE_TIMEOUT",
        "eat.png": "DECODE_MEMORY",
        **dict.fromkeys(MARKED, "WORKER_CRASHED"),
    }
    clean = grounds.clean("fake")
    assert dict(+check(files, str(output), set(clean), clean)) == {"failed": 6}


def test_storms_are_what_they_promise_to_be() -> None:
    plans = [plan(seed) for seed in range(SEEDS)]
    assert plans == [plan(seed) for seed in range(SEEDS)]
    assert all(sum(blow.what in KILLS for blow in each.blows) == KILLS_A_STORM for each in plans)
    assert all(list(each.blows) == sorted(each.blows, key=lambda blow: blow.at) for each in plans)
    assert {blow.what for each in plans for blow in each.blows} == {*KILLS, "pause", "storage"}
    for some in (plans[:FAKE_SEEDS], plans[FAKE_SEEDS:]):
        assert sum(each.place == "s3" for each in some) == len(some) / 2
        assert sum(each.layout == "split" for each in some) == len(some) / 2


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Of an output, what readers see: each page once."""
    write(tmp_path / "pages/part-1.parquet", ("s3://in/a.pdf", 0, "one"), ("s3://in/a.pdf", 1, "two"))
    write(tmp_path / "pages/part-2.parquet", ("s3://in/b.png", 0, "three"))
    return tmp_path


def write(path: Path, *given: tuple[str, int, str]) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"uri": uri, "etag": "1", "page_index": index, "text": text, "run_id": path.name} for uri, index, text in given
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("part", "rows", "wrong"),
    [
        ("part-3", [], {}),
        ("part-3", [("s3://in/a.pdf", 1, "two")], {"twice": 1}),
        ("part-2", [], {"lost": 1}),
        ("part-2", [("s3://in/b.png", 0, "thr")], {"changed": 1}),
        ("part-3", [("s3://in/c.png", 0, "four")], {"strange": 1, "changed": 1}),
    ],
)
def test_the_checker_sees_what_is_wrong(
    output: Path, part: str, rows: list[tuple[str, int, str]], wrong: dict[str, int]
) -> None:
    files = LocalFileSystem()
    clean = content(files, str(output))
    assert set(clean) == PLANNED
    if rows:
        write(output / f"pages/{part}.parquet", *rows)
    elif wrong:
        (output / f"pages/{part}.parquet").unlink()
    assert dict(+check(files, str(output), PLANNED, clean)) == wrong


def test_the_checker_tells_a_failure_from_a_loss(output: Path) -> None:
    files = LocalFileSystem()
    clean = content(files, str(output))
    (output / "pages/part-2.parquet").unlink()
    write(output / "failures/part-3.parquet", ("s3://in/b.png", 0, ""), ("s3://in/a.pdf", 0, ""))
    assert dict(+check(files, str(output), PLANNED, clean)) == {"failed": 1}
