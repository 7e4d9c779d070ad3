"""On a real GPU: the texts of the CPU, the same bits in any company, memory that does not grow (`make gpu`)."""

import subprocess
from functools import cache
from typing import Any

import numpy as np
import pytest
from dataset import DOCUMENTS, content, job, rows
from forms import forms

from ocrbatch.config import load
from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.onnxruntime_gpu import OnnxRuntimeGpuEngine
from ocrbatch.errors import UsageError
from ocrbatch.evaluation.metrics import CharacterAgreement
from ocrbatch.models.registry import resolve
from ocrbatch.reading.reader import Reader, Reading
from ocrbatch.recognition.buckets import WIDTHS

pytestmark = [pytest.mark.gpu, pytest.mark.models]

PAGES = forms(5)
CPU = ("engine.name=onnxruntime", "engine.device=cpu")
GPU = ("engine.name=onnxruntime", "engine.device=gpu")
TENSORRT = (*GPU, "engine.precision=fp16")


@cache
def reader(*settings: str) -> Reader:
    try:
        return Reader.load(load("", settings), threads=2)
    except UsageError as error:
        pytest.skip(str(error))  # this machine lacks TensorRT, say


@cache
def read(*settings: str) -> list[Reading]:
    return reader(*settings).read(PAGES)


def bits(readings: list[Reading]) -> list[Any]:
    """All that was read, to the last bit."""
    return [
        [(line.text, line.score, line.det_score, line.polygon.tolist()) for line in (*page.lines, *page.rejected)]
        for page in readings
    ]


@pytest.mark.parametrize(("settings", "least"), [(GPU, 0.998), (TENSORRT, 0.99)], ids=["cuda", "tensorrt"])
def test_it_reads_what_the_cpu_reads(settings: tuple[str, ...], least: float) -> None:
    agreement = CharacterAgreement()
    for found, expected in zip(read(*settings), read(*CPU), strict=True):
        agreement.update(*("\n".join(line.text for line in page.lines) for page in (found, expected)))
    assert agreement.summary().agreement >= least


@pytest.mark.parametrize("settings", [GPU, TENSORRT], ids=["cuda", "tensorrt"])
def test_a_page_reads_the_same_in_any_company_and_order(settings: tuple[str, ...]) -> None:
    expected = bits(read(*settings))
    assert [bits(reader(*settings).read([page]))[0] for page in PAGES] == expected
    order = np.random.default_rng(0).permutation(len(PAGES))
    found = bits(reader(*settings).read([PAGES[place] for place in order]))
    assert found == [expected[place] for place in order]


def test_a_model_that_is_loaded_again_gives_the_same_bits() -> None:
    fresh = Reader.load(load("", GPU), threads=1)
    assert bits(fresh.read(PAGES)) == bits(read(*GPU))


def used_mib() -> int:
    """Memory that is taken of the first GPU, by whomever."""
    command = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_memory_is_bounded_by_the_sessions_that_are_kept() -> None:
    kept = 4
    model = OnnxRuntimeGpuEngine(resolve("PP-OCRv6_small_rec"), EngineOptions("gpu", extra={"sessions": kept}))

    def cycle() -> int:
        for width in WIDTHS:
            model.run(np.zeros((1, 48, width, 3), np.uint8))
        return used_mib()

    cycle()
    settled = cycle()
    assert max(cycle() for _ in range(3)) <= settled + 64
    assert len(model._places) == kept


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_job_gives_the_same_bits_in_either_layout(tmp_path: Any) -> None:
    for layout in ("split", "fused"):
        report = job(tmp_path / layout, f"input.uris=[{DOCUMENTS}]", *GPU, f"pipeline.layout={layout}")
        assert report.exit_code == 0
        assert report.engine["device"] != "cpu"
    assert content(rows(tmp_path / "split")) == content(rows(tmp_path / "fused"))
