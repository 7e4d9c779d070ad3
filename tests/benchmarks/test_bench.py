"""The benchmark's arithmetic, its table and its reading of truth; the laps themselves are no test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import psutil
import pytest
from bench import Contestant, Lane, last_line, word_f1
from bench_pages import BenchPage, bench_pages, written
from bench_table import COLUMNS, Figures, Standing, medians, ratios, table
from processes import Tree, watched

DOCUMENTS = Path(__file__).parents[1] / "resources/documents"


def lap(speed: float, word_f1: float | None = 0.9) -> Figures:
    return {
        "pages_per_second": speed,
        "cpu_seconds_per_page": 2 / speed,
        "peak_mib": 1000.0,
        "word_f1": word_f1,
        "lines": 50,
    }


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    ours, peer = [lap(2.0), lap(1.0), lap(4.0)], [lap(1.0), lap(0.8), lap(1.0)]  # 0.5, 0.8, 0.25
    found = ratios(peer, ours)
    assert found["pages_per_second"] == pytest.approx(0.5)
    assert found["cpu_seconds_per_page"] == pytest.approx(2.0)
    assert medians(peer)["pages_per_second"] == 1.0


def test_a_figure_that_a_lap_lacks_has_no_median_and_no_ratio() -> None:
    laps = [lap(1.0, None), lap(1.0)]
    assert medians(laps)["word_f1"] is None
    assert ratios(laps, laps)["word_f1"] is None
    assert ratios(laps, []) == {key: None for key, *_ in COLUMNS}


def test_columns_stand_below_each_other_and_a_failure_says_why() -> None:
    ours, peer = [lap(2.0)], [lap(0.5, None)]
    text = table(
        [
            Standing("ocrbatch", medians(ours), ratios(ours, ours), remark="its weights"),
            Standing("a-peer-of-long-name", medians(peer), ratios(peer, ours)),
            Standing("broken", {}, {}, failure="can't be prepared: no network"),
        ]
    )
    head, first, second, third, _, remark = text.splitlines()
    for heading in ("pages/s", "CPU s/page", "peak MiB", "lines"):
        end = head.index(heading) + len(heading)
        assert first[end - 1] == second[end - 1] == "x", heading
    assert first.split()[:5] == ["ocrbatch", "2.00", "1.00x", "1.00", "1.00x"]
    assert second.split()[1:9] == ["0.50", "0.25x", "4.00", "4.00x", "1,000", "1.00x", "-", "-"]
    assert third.split(maxsplit=1) == ["broken", "can't be prepared: no network"]
    assert remark.split(maxsplit=1) == ["ocrbatch", "its weights"]


def test_truth_is_lines_as_texts_or_as_mappings() -> None:
    assert written(["Total", {"text": "9.00", "polygon": []}]) == "Total\n9.00"
    assert written([]) == ""
    assert written(None) is None


def test_only_pages_of_known_truth_count_in_word_f1() -> None:
    known = BenchPage(Path("0.png"), "a", 1, "one two three four")
    unknown = BenchPage(Path("1.png"), "b", 1, None)
    assert word_f1([known, unknown], [["ONE two", "three"], ["anything"]]) == pytest.approx(6 / 7)
    assert word_f1([unknown], [["anything"]]) is None


def test_a_contestant_that_fails_says_why_and_the_others_go_on() -> None:
    lane = Lane(Contestant("broken", "no_such_program.py", "auto"))
    lane.prepare()
    lane.lap([BenchPage(Path("0.png"), "a", 1, None)])
    assert "no_such_program.py" in lane.failure
    assert lane.standing([]) == Standing("broken", {}, {}, lane.failure)


def test_a_look_sees_what_a_program_and_its_children_use() -> None:
    hoard = "hoard = bytearray(200 << 20); print('ready', flush=True); input()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hoard!r}])"
    tree = Tree()
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree.look(psutil.Process(process.pid))
        process.communicate(b"\n")
    assert tree.peak_bytes > 200 << 20
    assert len(tree.cpu) == 2
    assert tree.cpu_seconds > 0


def test_a_watched_program_runs_to_its_end_and_is_heard() -> None:
    done, _ = watched([sys.executable, "-c", "import sys; print('said'); sys.exit('no')"])
    assert (done.returncode, done.stdout, done.stderr) == (1, "said\n", "no\n")


def test_what_a_program_said_last_is_the_reason() -> None:
    assert last_line("Traceback:\n  File\nValueError: no such model\n\n") == "ValueError: no such model"
    assert last_line("") == "it said nothing"


def test_pages_are_the_first_of_each_document_with_the_truth_that_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "documents").symlink_to(DOCUMENTS)
    (tmp_path / "pages").mkdir()
    pages = bench_pages(tmp_path, tmp_path / "pages", 1, {"invoice.png": ["Invoice"]})
    by_source = {page.source: page for page in pages}
    pngs = sorted((tmp_path / "pages").iterdir())
    assert [page.path for page in pages] == pngs
    assert {name.split()[1] for name in by_source} == {"1"}
    assert by_source["invoice.png 1"].truth == "Invoice"
    assert "agreement" in str(by_source["agreement.pdf 1"].truth).casefold()
    assert by_source["minutes-scanned.pdf 1"].truth is None
    image = cv2.imread(str(by_source["agreement.pdf 1"].path))
    assert image.shape[0] * image.shape[1] == by_source["agreement.pdf 1"].pixels
    assert "notes.txt" in capsys.readouterr().err
