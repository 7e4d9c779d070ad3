"""What is OpenVINO's own: the bounds on compiled shapes and kernels, options, the cap of the instruction set."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ocrbatch.engines import cpu, openvino
from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.openvino import OpenVinoEngine
from ocrbatch.errors import UsageError
from ocrbatch.models.registry import resolve
from ocrbatch.recognition.buckets import WIDTHS

pytest.importorskip("openvino")
pytestmark = pytest.mark.models


def recognizer(threads: int = 1, memory_mb: int = 1024, **extra: object) -> OpenVinoEngine:
    options = EngineOptions(threads=threads, memory_mb=memory_mb, extra=extra)
    return OpenVinoEngine(resolve("PP-OCRv6_tiny_rec"), options)


def rows(width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 255, (count, 48, width, 3), dtype=np.uint8)


def test_compiled_shapes_are_bounded_and_the_least_used_goes() -> None:
    engine = recognizer(memory_mb=1)  # less than the file has
    first = engine.run(rows(64))
    engine.run(rows(96))
    engine.run(rows(64))
    engine.run(rows(128))
    assert [shape[2] for shape in engine._compiled] == [64, 128]
    engine.run(rows(96))
    again = engine.run(rows(64))
    assert len(engine._compiled) == 2
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_cycle_through_all_widths_of_the_default_model_fits_into_the_default_memory() -> None:
    narrow = [width for width in WIDTHS if width <= openvino.ROWS_WIDTH]
    file = Path(resolve("PP-OCRv6_small_rec").path).stat().st_size
    assert openvino.shapes_within(EngineOptions().memory_mb << 20, file) >= len(WIDTHS) + len(narrow)


def test_narrow_rows_share_a_call_and_wide_ones_do_not() -> None:
    engine = recognizer()
    engine.run(rows(64, 6))
    engine.run(rows(352, 6))
    assert sorted(engine._compiled) == [(1, 48, 64, 3), (1, 48, 352, 3), (4, 48, 64, 3)]


@pytest.mark.parametrize("name", ["PP-OCRv6_small_rec", "PP-OCRv6_tiny_rec", "PP-OCRv5_mobile_rec"])
def test_the_heads_of_the_models_at_hand_stand_apart(name: str) -> None:
    engine = OpenVinoEngine(resolve(name), EngineOptions())
    assert engine._classes is not None
    classes, probabilities = engine.run(rows(96, 5))
    assert classes.shape == probabilities.shape == (5, 12)


@pytest.mark.parametrize(("threads", "lanes", "each"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (8, 2, 4)])
def test_lanes_share_the_threads(threads: int, lanes: int, each: int) -> None:
    engine = recognizer(threads)
    assert (engine._pool._max_workers if engine._pool else 1) == lanes
    assert engine._properties["INFERENCE_NUM_THREADS"] == each
    assert engine._properties["NUM_STREAMS"] == 1


def test_a_detector_has_all_threads() -> None:
    engine = OpenVinoEngine(resolve("PP-OCRv6_tiny_det"), EngineOptions(threads=2))
    assert engine._pool is None and engine._properties["INFERENCE_NUM_THREADS"] == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_pages_of_ever_new_sizes_do_not_fill_the_memory() -> None:
    code = """
from pathlib import Path
from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.openvino import OpenVinoEngine
from ocrbatch.models.registry import resolve
import numpy as np
engine = OpenVinoEngine(resolve('PP-OCRv6_tiny_det'), EngineOptions())
sizes = [(height, width) for height in range(32, 321, 32) for width in range(32, 321, 32)]
for place, size in enumerate(np.random.default_rng(0).permutation(sizes)):
    engine.run(np.zeros((1, *size, 3), np.uint8))
    if place in (39, 99):
        print(int(Path('/proc/self/statm').read_text().split()[1]) * 4096 // 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late - early < 100  # MiB: 25 with the bound on kernels, 210 without


def test_a_cache_on_disk_keeps_the_bits(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("compiled")
    expected = recognizer().run(rows(64))
    for _ in range(2):
        found = recognizer(CACHE_DIR=str(folder)).run(rows(64))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert any(folder.iterdir())


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(UsageError, match="cache_dir"):
        recognizer(cache_dir="/x")


@pytest.mark.skipif(cpu.level() not in {"avx512_vnni", "avx512_bf16", "amx"}, reason="needs a CPU above avx512 to cap")
def test_a_process_has_one_cap() -> None:
    code = """
from ocrbatch.engines.base import EngineOptions
from ocrbatch.engines.openvino import OpenVinoEngine
from ocrbatch.errors import UsageError
from ocrbatch.models.registry import resolve
import numpy as np, os
weights = resolve('PP-OCRv6_tiny_rec')
for _ in range(2):
    OpenVinoEngine(weights, EngineOptions(isa_cap='avx512')).run(np.zeros((1, 48, 64, 3), np.uint8))
print(os.environ['ONEDNN_MAX_CPU_ISA'])
try:
    OpenVinoEngine(weights, EngineOptions())
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cap, refused = done.stdout.strip().splitlines()
    assert cap == "AVX512_CORE"
    assert "no cap" in refused


def test_an_outside_cap_that_the_config_does_not_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    with pytest.raises(UsageError, match="ONEDNN_MAX_CPU_ISA"):
        recognizer()


def test_no_call_is_left_running_when_a_result_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def lanes(*_: object) -> Iterator[list[object]]:
        try:
            yield [[np.zeros((1, 8), np.int32), np.full((1, 8), np.nan, np.float32)]]
        finally:
            closed.append(True)

    monkeypatch.setattr(openvino, "side_by_side", lanes)
    with pytest.raises(RuntimeError, match="NaN") as held:
        list(recognizer(2).run_many([rows(64)]))
    assert closed, f"while {held} is held"
