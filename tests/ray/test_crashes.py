"""A worker that dies natively: its page becomes a failure, its neighbours rows, and the job ends."""

import shutil

import cv2
import pytest
from dataset import bar_pages, content, job, rows

from ocrbatch.errors import StoppedEarlyError, UsageError
from ocrbatch.pipeline import patience, session

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]

MARKER = (1, 2, 3)  # B, G, R of the first pixel
COUNT = 12


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return bar_pages(tmp_path_factory.mktemp("pages"), COUNT)


@pytest.fixture(scope="module")
def clean(healthy, tmp_path_factory, local_ray):
    """What they give with none that is marked."""
    output = tmp_path_factory.mktemp("clean")
    job(output, f"input.uris=[{healthy}]", "engine.name=fake")
    found = content(rows(output))
    assert len(found) == COUNT
    return found


def marked(healthy, source, *names):
    """A copy of the pages, some of them marked."""
    shutil.copytree(healthy, source)
    for name in names:
        page = cv2.imread(str(source / name))
        page[0, 0] = MARKER
        cv2.imwrite(str(source / name), page)
    return source


@pytest.fixture
def read_marked(healthy, tmp_path):
    """Reads the pages after one was marked, with an engine that such a page does something to."""

    def read(name, fault, *overrides):
        source, output = marked(healthy, tmp_path / "in", name), tmp_path / "out"
        options = f"engine.options={{fault: {fault}, marker: {list(MARKER)}}}"
        report = job(output, f"input.uris=[{source}]", "engine.name=fake", options, *overrides)
        assert (report.exit_code, report.pages) == (3, COUNT - 1)
        assert [row["uri"].rsplit("/", 1)[-1] for row in rows(output, "failures")] == [name]
        return report, content(rows(output))

    return read


@pytest.mark.timeout(600)
@pytest.mark.parametrize("layout", [pytest.param("fused", marks=pytest.mark.slow), "split"])
def test_a_page_that_kills_its_worker_is_one_failure(read_marked, clean, layout):
    report, found = read_marked("07.png", "crash", f"pipeline.layout={layout}")
    assert report.failures == {"WORKER_CRASHED": 1}
    assert found == [row for row in clean if row["uri"] != "07.png"]


def test_a_page_that_hangs_is_one_failure(read_marked):
    report, _ = read_marked("05.png", "hang", "engine.timeout=0.5", "pipeline.page_batch=4")
    assert report.failures == {"WORKER_CRASHED": 1}


def test_a_page_that_eats_memory_is_one_failure(read_marked):
    report, _ = read_marked("09.png", "eat", "pipeline.worker_memory_mb=600", "pipeline.page_batch=4")
    assert report.failures == {"WORKER_CRASHED": 1}


def test_an_engine_that_raises_on_a_page_fails_that_page_only(read_marked):
    report, _ = read_marked("03.png", "raise", "pipeline.layout=split")
    assert report.failures == {"DETECT_FAILED": 1}


CRASHING = [
    *("engine.name=fake", f"engine.options={{fault: crash, marker: {list(MARKER)}}}"),
    *("pipeline.page_batch=1", "pipeline.readers=1"),
]


@pytest.fixture
def little_patience(monkeypatch):
    """A pass ends at the fourth batch that is lost in a row. (The one that waits for the same worker is lost, too, so
    there must be but one.)"""
    for module in (session, patience):
        monkeypatch.setattr(module, "LEAST_LOST", 3)


@pytest.mark.timeout(600)
def test_any_number_of_pages_may_kill_their_workers_where_others_are_read(healthy, clean, little_patience, tmp_path):
    deadly = [f"{number:02d}.png" for number in range(2, COUNT, 3)]
    source = marked(healthy, tmp_path / "in", *deadly)
    report = job(tmp_path / "out", f"input.uris=[{source}]", *CRASHING)
    assert report.failures == {"WORKER_CRASHED": len(deadly)}
    assert [row["uri"].rsplit("/", 1)[-1] for row in rows(tmp_path / "out", "failures")] == deadly
    assert content(rows(tmp_path / "out")) == [row for row in clean if row["uri"] not in deadly]


def test_a_run_whose_workers_all_die_ends_early(healthy, little_patience, tmp_path):
    source = marked(healthy, tmp_path / "in", *(f"{number:02d}.png" for number in range(COUNT)))
    with pytest.raises(StoppedEarlyError, match="the workers die") as caught:
        job(tmp_path / "out", f"input.uris=[{source}]", *CRASHING)
    assert "max_error_rate" in caught.value.remedy
    assert rows(tmp_path / "out", "failures") == [], "the next run reads them"


def test_a_worker_that_cannot_be_set_up_ends_the_run_in_its_own_words(healthy, tmp_path):
    with pytest.raises(UsageError, match="has no option 'tokens'") as caught:
        job(tmp_path, f"input.uris=[{healthy}]", "engine.name=fake", "engine.options={tokens: 1}")
    assert caught.value.remedy.startswith("It takes")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("layout", ["fused", "split"])
def test_workers_that_are_killed_while_they_load_end_the_run(healthy, tmp_path, layout):
    overrides = (f"input.uris=[{healthy}]", "engine.name=fake", "engine.options={fault: stillborn}")
    with pytest.raises(StoppedEarlyError, match="killed 3 times while it loaded its models"):
        job(tmp_path / "out", *overrides, f"pipeline.layout={layout}")
