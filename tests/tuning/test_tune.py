"""`ocrbatch tune` on a real Ray: probes that run the real pipeline, and a profile that a run takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import ray
from dataset import DOCUMENTS, bar_pages, rows
from PIL import Image

from ocrbatch.cli.main import main
from ocrbatch.config import load, load_file
from ocrbatch.errors import UsageError
from ocrbatch.tuning.search import Dimension, Infeasible, start
from ocrbatch.tuning.tune import bench

pytestmark = [
    pytest.mark.ray,
    pytest.mark.models,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(900),
]

MARKER = [1, 2, 3]  # B, G, R of the first pixel
DEADLY = f"engine.options={{fault: eat, marker: {MARKER}}}"
BOUND = "pipeline.worker_memory_mb=600"


def setting(key, *values):
    return tuple(((key, value),) for value in values)


@pytest.fixture
def probes(tmp_path, monkeypatch):
    """Where probes write, which is to be empty after them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def deadly(tmp_path):
    """Documents of two pages, of which the second eats all memory that it gets."""
    folder = tmp_path / "deadly"
    folder.mkdir()
    pages = np.full((2, 64, 256, 3), 255, np.uint8)
    pages[:, 24:40, 16:64] = 0
    pages[1, 0, 0] = MARKER[::-1]
    first, second = map(Image.fromarray, pages)
    for name in "abcd":
        first.save(folder / f"{name}.tiff", save_all=True, append_images=[second])
    return folder


def test_the_sample_documents_are_tuned_for_and_the_profile_is_taken_by_a_run(tmp_path, capsys):
    path, output = tmp_path / "profile.yaml", tmp_path / "out"
    words = [
        *("tune", "--input", str(DOCUMENTS), "--output", str(output), "--output-profile", str(path), "--json"),
        *("--seconds", "1", "--set", "engine.name=fake", "--set", "pipeline.readers=1"),
        *("--set", "pipeline.page_batch=2", "--set", "recognition.batch_pixels=4096", "--set", "pipeline.decoders=1"),
    ]
    assert main(words) == 0
    said = capsys.readouterr()
    tuned = json.loads(said.out)
    assert set(tuned["settings"]) == {"pipeline.layout", "engine.threads"}
    assert tuned["pages_per_second"] > 0
    assert (tuned["points"], tuned["same_results"]) == (2, True)
    tried = [line for line in said.err.splitlines() if "pages/s  layout=fused threads=" in line]
    assert len(tried) == len(tuned["trials"]) >= 3, "a line for each"
    assert not output.exists(), "the output is left alone"

    profile = load_file(path)
    assert profile.model_dump(exclude_unset=True) == {
        "pipeline": {"layout": "fused"},
        "engine": {"threads": tuned["settings"]["engine.threads"]},
    }
    run = ["--input", str(DOCUMENTS / "invoice.png"), "--output", str(output), "--set", "engine.name=fake"]
    assert main(["run", "--profile", str(path), *run]) == 0
    assert "in one (layout fused)" in capsys.readouterr().err
    (row,) = rows(output)
    assert row["fingerprint"] == tuned["fingerprint"], "the results are those of a run without the profile"


@pytest.mark.slow
def test_it_backs_off_where_workers_die_for_memory(deadly, tmp_path, monkeypatch, capsys):
    tiny = (
        Dimension("pages", setting("documents.pages", "1", ""), start=1),
        Dimension("page_batch", setting("pipeline.page_batch", 1, 2), start=1, ordered=True),
    )
    monkeypatch.setattr("ocrbatch.tuning.tune.grid", lambda *_: tiny)
    path = tmp_path / "profile.yaml"
    words = ["tune", "--input", str(deadly), "--output-profile", str(path), "--seconds", "1", "--json"]
    assert main([*words, "--set", "engine.name=fake", "--set", DEADLY, "--set", BOUND]) == 0
    said = capsys.readouterr()
    tuned = json.loads(said.out)
    assert tuned["settings"] == {"documents.pages": "1", "pipeline.page_batch": 1}
    assert tuned["start_pages_per_second"] is None
    assert tuned["left_out"] == 1, "the larger batch"
    died = [trial["settings"] for trial in tuned["trials"] if trial["pages_per_second"] is None]
    assert died == [
        {"documents.pages": "", "pipeline.page_batch": 2},
        {"documents.pages": "", "pipeline.page_batch": 1},
    ]
    assert said.err.count("does not run: a worker died") == 2
    assert load_file(path).pipeline.page_batch == 1


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["engine.options={fault: stillborn}"], marks=pytest.mark.slow),
        ["engine.name=openvino", "pipeline.worker_memory_mb=128"],
        [DEADLY, BOUND, "pipeline.layout=split"],
    ],
    ids=["killed while they load", "bounded by less than they hold", "eating"],
)
def test_a_probe_whose_workers_die_leaves_nothing_behind(deadly, probes, overrides):
    config = load("", [f"input.uris=[{deadly}]", "engine.name=fake", *overrides])
    with bench(config, change_results=False, seconds=1.0, say=lambda line: None) as (prober, grid):
        assert isinstance(prober(start(grid), None), Infeasible)
        assert not [name for name in ray.util.list_named_actors() if prober.run_id in name]
        (scratch,) = probes.glob("ocrbatch-tune-*")
        assert not list(scratch.iterdir())
    assert not list(probes.glob("ocrbatch-tune-*"))


def test_a_probe_that_is_clearly_behind_is_given_up(probes, tmp_path):
    pages = bar_pages(tmp_path / "pages", 12)
    slow = "engine.options={seconds: 0.05}"
    config = load("", [f"input.uris=[{pages}]", "engine.name=fake", slow, "pipeline.page_batch=1"])
    with bench(config, change_results=False, seconds=6.0, say=lambda line: None) as (prober, grid):
        rate = prober(start(grid), 1e6)
        (trial,) = prober.trials
    assert rate == trial.pages_per_second
    assert 0 < rate < 20, "two sleeps a page"
    assert not trial.whole


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["input.uris=[/nowhere/at/all]"], "/nowhere/at/all"),
        ([f"input.uris=[{DOCUMENTS}]", "input.include=['*.none']"], "no documents"),
        ([f"input.uris=[{DOCUMENTS}/notes.txt]"], "the sample ended"),
        pytest.param(
            [f"input.uris=[{DOCUMENTS}]", "engine.options={tokens: 1}"], "no option 'tokens'", marks=pytest.mark.slow
        ),
    ],
)
def test_a_sample_or_a_config_that_cannot_be_measured_is_told(tmp_path, capsys, overrides, said):
    path = tmp_path / "profile.yaml"
    words = [word for item in ["engine.name=fake", *overrides] for word in ("--set", item)]
    assert main(["tune", "--output-profile", str(path), *words]) == UsageError.exit_code
    assert said in capsys.readouterr().err
    assert not Path(path).exists()
