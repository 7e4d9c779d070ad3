"""What every engine promises, run on each that is installed: shapes, types, equal bits for any batch, refusals.

Those for GPUs are run twice: on a GPU where there is one (`make gpu`), and anywhere on the CPU, by the same code.
"""

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ocrbatch.config import EngineConfig
from ocrbatch.engines import cpu, fake, registry
from ocrbatch.engines.base import Engine, EngineOptions, Weights
from ocrbatch.errors import ModelError
from ocrbatch.models import carriers
from ocrbatch.models.registry import default_cache, entry, resolve
from ocrbatch.records import Pixels

HEADS = ("map", "ctc")
ENGINES = (
    *("fake fp32", "openvino fp32", "openvino bf16", "onnxruntime fp32", "paddle fp32"),
    *("onnxruntime_gpu fp32 cpu", "paddle_gpu fp32 cpu"),  # the engines for GPUs on the device cpu
    *(pytest.param(f"{name}_gpu fp32 gpu", marks=pytest.mark.gpu) for name in ("onnxruntime", "paddle")),
)
NEEDS = {"fake": "numpy", "onnxruntime_gpu": "onnx", "paddle_gpu": "paddle"}
# Of the engines for GPUs: some rows of most shapes below, one of the widest.
BATCH_PIXELS = {"map": 4 * 64 * 96, "ctc": 350}
MODELS = {
    "onnx": {"map": "PP-OCRv6_tiny_det", "ctc": "PP-OCRv6_tiny_rec"},
    "paddle": {"map": "PP-OCRv4_mobile_det", "ctc": "PP-OCRv4_mobile_rec"},
}
pytestmark = pytest.mark.models


def weights_for(engine: str, head: str) -> Weights:
    """The weights for this engine, or a skip with the reason that they, or it, are not here."""
    name, precision, *_ = engine.split()
    if importlib.util.find_spec(NEEDS.get(name, name)) is None:
        pytest.skip(f"{NEEDS.get(name, name)} is not installed")
    if precision == "bf16" and not cpu.computes_bf16(cpu.level()):
        pytest.skip("this CPU has no bf16 instructions")
    if name == "fake":
        return fake.weights(head)
    model = MODELS["paddle" if name.startswith("paddle") else "onnx"][head]
    if carriers.located(entry(model), default_cache()) is None:
        pytest.skip(f"{model} is not here: ocrbatch models pull {model}")
    return resolve(model)


def load(engine: str, weights: Weights, threads: int = 1) -> Engine:
    """Loads the weights in this engine, as a job does; an engine for GPUs on the device that it is to be tried on."""
    name, precision, *where = engine.split()
    if where:
        options = EngineOptions(where[0], precision, threads, batch_pixels=BATCH_PIXELS[weights.head])
        module, _, of = registry.RUNTIMES[name.removesuffix("_gpu")].engines["gpu"].partition(":")
        return getattr(importlib.import_module(f"ocrbatch.engines.{module}"), of)(weights, options)
    config = {"name": name, "precision": precision, "device": "cpu", "threads": threads}
    return registry.load(registry.choose(EngineConfig.model_validate(config)), weights)


LOADED: dict[tuple[str, str, int], Engine] = {}


def loaded(engine: str, head: str, threads: int = 1) -> Engine:
    key = (engine, head, threads)
    if key not in LOADED:
        weights = weights_for(engine, head)  # first: it skips what is not installed
        LOADED[key] = load(engine, weights, threads)
    return LOADED[key]


def pages(count: int, height: int = 64, width: int = 96) -> Pixels:
    """Pages with bars of text-like strokes, each page another."""
    random = np.random.default_rng(0)
    found = np.full((count, height, width, 3), 230, np.uint8)
    for page in found:
        for top in range(8, height - 8, 16):
            strokes = random.integers(0, 2, width // 3).repeat(3)[:width].astype(bool)
            page[top : top + 9, : len(strokes)][:, strokes] = random.integers(0, 90, 3)
    return found


def batch(head: str, count: int, width: int = 96) -> Pixels:
    return pages(count, 48 if head == "ctc" else 64, width)


def same(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


engines = pytest.mark.parametrize("engine", ENGINES)
heads = pytest.mark.parametrize("head", HEADS)


@engines
@pytest.mark.parametrize("count", [1, 3])
def test_a_map_is_one_probability_a_pixel(engine: str, count: int) -> None:
    (found,) = loaded(engine, "map").run(batch("map", count))
    assert (found.shape, found.dtype) == ((count, 64, 96), np.float32)
    assert 0 <= found.min() <= found.max() <= 1
    assert found.max() > found.min()


@engines
@pytest.mark.parametrize("count", [1, 3])
def test_a_ctc_head_gives_one_class_and_its_probability_a_step(engine: str, count: int) -> None:
    model = loaded(engine, "ctc")
    classes, probabilities = model.run(batch("ctc", count, 128))
    assert (classes.dtype, probabilities.dtype) == (np.int32, np.float32)
    assert classes.shape == probabilities.shape == (count, 16)
    assert 0 <= classes.min() <= classes.max() < len(weights_for(engine, "ctc").characters)
    assert 0 < probabilities.min() <= probabilities.max() <= 1


@engines
@heads
@pytest.mark.parametrize("count", [1, 2, 11])
def test_no_fewer_rows_are_computed_than_are_given(engine: str, head: str, count: int) -> None:
    assert loaded(engine, head).rows_computed(batch(head, count).shape) >= count


@engines
@pytest.mark.parametrize(("head", "width"), [("map", 96), ("ctc", 64), ("ctc", 320), ("ctc", 384)])
def test_the_bits_do_not_depend_on_the_batch(engine: str, head: str, width: int) -> None:
    rows = batch(head, 11, width)
    model = loaded(engine, head)
    expected = model.run(rows)
    for size in (1, 2, 3, 5, 8):
        parts = [model.run(rows[k : k + size]) for k in range(0, len(rows), size)]
        joined = tuple(np.concatenate(p) for p in zip(*parts, strict=True))
        assert same(joined, expected), f"batches of {size} differ"
    order = np.random.default_rng(1).permutation(len(rows))
    assert same(model.run(rows[order]), tuple(array[order] for array in expected)), "neighbours matter"


@engines
@heads
def test_the_bits_do_not_depend_on_threads_loading_or_history(engine: str, head: str) -> None:
    rows = batch(head, 5, 128)
    expected = loaded(engine, head).run(rows)
    fresh = load(engine, weights_for(engine, head), 2)
    for width in (256, 64):
        fresh.run(batch(head, 2, width))
    assert same(fresh.run(rows), expected)
    assert same(fresh.run(rows), expected)


@engines
@heads
@pytest.mark.parametrize("threads", [1, 2])
def test_many_batches_give_the_bits_that_each_gives_alone(engine: str, head: str, threads: int) -> None:
    model = loaded(engine, head, threads)
    sizes = ((5, 96), (1, 352), (9, 64), (2, 96), (3, 352), (6, 128), (1, 64), (4, 96), (11, 64), (1, 128), (2, 352))
    batches = [batch(head, count, width) for count, width in sizes]
    expected = [loaded(engine, head).run(rows) for rows in batches]
    for _ in range(2):
        found = list(model.run_many(iter(batches)))
        assert len(found) == len(expected)
        assert all(map(same, found, expected))
    assert list(model.run_many([])) == []


@engines
@heads
def test_many_batches_may_be_left_at_a_failure(engine: str, head: str) -> None:
    model = loaded(engine, head, 2)
    good, wrong = batch(head, 6), np.zeros((1, 48, 64, 3), np.float32)
    with pytest.raises(ValueError, match="uint8"):
        list(model.run_many([good, good[:, :, :64], wrong, good]))
    assert same(model.run(good), loaded(engine, head).run(good))


@engines
@heads
def test_results_outlive_the_next_call(engine: str, head: str) -> None:
    model = loaded(engine, head)
    rows = batch(head, 2)
    kept = model.run(rows[:1])
    copies = tuple(array.copy() for array in kept)
    model.run(rows[1:])
    assert same(kept, copies)


@engines
@heads
def test_memory_order_does_not_matter_and_the_input_stays(engine: str, head: str) -> None:
    rows = batch(head, 2)
    before = rows.copy()
    expected = loaded(engine, head).run(rows)
    turned = np.asfortranarray(rows)
    assert same(loaded(engine, head).run(turned[:, :, :, :]), expected)
    wide = np.repeat(rows, 2, axis=0)[::2]
    assert same(loaded(engine, head).run(wide), expected)
    assert np.array_equal(rows, before)


@engines
@heads
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((48, 64, 3), np.uint8),
        np.zeros((1, 48, 64, 1), np.uint8),
        np.zeros((1, 3, 48, 64), np.uint8),
        np.zeros((1, 48, 64, 3), np.float32),
        np.zeros((0, 48, 64, 3), np.uint8),
        np.zeros((1, 48, 0, 3), np.uint8),
    ],
    ids=lambda array: f"{array.shape}-{array.dtype}",
)
def test_other_arrays_are_refused(engine: str, head: str, wrong: Pixels) -> None:
    with pytest.raises(ValueError, match="uint8"):
        loaded(engine, head).run(wrong)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_broken_file_is_a_model_error(engine: str, tmp_path: Path) -> None:
    good = weights_for(engine, "map")
    if good.format == "onnx":
        broken = tmp_path / "inference.onnx"
        broken.write_bytes(Path(good.path).read_bytes()[:5000])
        path = broken
    else:
        path = tmp_path
        for file in Path(good.path).iterdir():  # cut off; on bytes that are no program at all Paddle itself segfaults
            body = file.read_bytes()
            (tmp_path / file.name).write_bytes(body[: len(body) // 2])
    fields = {name: getattr(good, name) for name in Weights.__slots__}
    with pytest.raises(ModelError, match="load") as caught:
        load(engine, Weights(**(fields | {"path": str(path)})))
    assert caught.value.remedy


def test_fp32_engines_agree_with_each_other() -> None:
    """One normalisation, one channel order, one class list: other bits, but the same answers."""
    for head, tolerance in (("map", 1e-3), ("ctc", 1e-3)):
        rows = batch(head, 3, 160)
        reference = loaded("onnxruntime fp32", head).run(rows)
        found = loaded("openvino fp32", head).run(rows)
        assert np.abs(found[-1] - reference[-1]).max() < tolerance
        if head == "ctc":
            assert (found[0] == reference[0]).mean() > 0.97
