"""The summary: what failed, what to do next, and a query that runs as it is printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ocrbatch.report.summary import RunReport

FAILURE = {
    "code": "FETCH_FAILED",
    "uri": "a.pdf",
    "page_index": None,
    "attempt": 1,
    "stage": "fetch",
    "message": "no answer",
    "remedy": "look",
    "retryable": True,
    "again": True,
}
USED_UP = FAILURE | {"attempt": 3, "again": False}
FINAL = FAILURE | {"code": "PDF_BROKEN", "retryable": False, "again": False}


def report(*failures, **fields):
    made = RunReport("r", "/out", documents_listed=2, documents_read=2, **fields)
    made.count(3, 30, 0, failures)
    made.open_failures = len(failures)
    return made


def test_it_says_what_failed_with_one_example_a_code():
    made = report(FINAL, FINAL)
    text = str(made)
    assert "2 PDF_BROKEN" in text
    assert "a.pdf" in text
    assert "-> look" in text
    assert text.count("no answer") == 1
    assert "/out/pages" in text
    assert made.exit_code == 3


def test_a_name_steers_no_terminal_and_forges_no_line():
    made = report(FINAL | {"uri": "/in/\x1b[31mred\nOpen          0 failures.png", "message": "\x9b2J \u202e"})
    assert "  PDF_BROKEN: /in/\\x1b[31mred\\nOpen          0 failures.png\n    \\x9b2J \\u202e\n" in str(made)
    assert json.loads(made.to_json())["examples"] == made.examples


def test_it_says_where_the_time_went():
    read = {"workers": 2, "batches": 5, "pages": 40, "busy": 7.0, "starved": 2.0, "held_up": 1.0}
    seconds = {"start": 2.4, "load": 2.0, "read": 1.5, "publish": 0.01}
    text = str(report(seconds=seconds, stages={"decode": read | {"workers": 1}, "read": read}, padding_ratio=0.0731))
    assert "Speed         2.00 pages/s once the models were loaded\n" in text
    assert "Time          6s in all: start 2.4 s, load 2.0 s, read 1.5 s\n" in text
    assert "Stages        decode    busy 70%, starved 20%, held up 10% (1 worker)\n" in text
    assert "              read      busy 70%, starved 20%, held up 10% (2 workers)\n" in text
    assert "Padding       7.3% of" in text


def test_retrying_is_advised_only_where_a_run_would_retry():
    assert "2 failures may pass: run the same command again" in str(report(FAILURE, FAILURE, FINAL))
    for failures in ([USED_UP], [FINAL]):
        assert "run the same command again" not in str(report(*failures))


def test_what_no_run_tries_again_names_the_verb_that_does():
    text = str(report(USED_UP, FAILURE))
    assert "1 failure may pass: run the same command again" in text
    assert "`ocrbatch retry /out`" in text
    assert "ocrbatch retry" in str(report(FINAL))
    assert "ocrbatch retry" not in str(report(FAILURE))


def test_failures_of_earlier_runs_that_no_run_tries_again():
    text = str(RunReport("r", "/out", outcome="nothing_left", documents_listed=1, open_failures=1))
    assert "mend or replace the files" in text
    assert "ocrbatch retry" in text
    assert "run the same command again" not in text


def test_exit_codes():
    assert RunReport("r", "o").exit_code == 0
    assert RunReport("r", "o", missing=1).exit_code == 5
    assert RunReport("r", "o", outcome="stopped", stopped_with=130).exit_code == 130


def test_the_json_has_the_derived_figures():
    tree = json.loads(report(FAILURE, seconds={"read": 2.0}).to_json())
    assert (tree["exit_code"], tree["pages_per_second"], tree["retryable"]) == (3, 1.5, 1)


NAMES = [
    "plain",
    "o'clock",
    'a "b"',
    "[2024] *?",
    "back\\slash",
    "$HOME `id`",
    "{braces}",
    "_x",
    "\u00e9\U0001f4c4",
    "a b",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_query_runs_whatever_the_output_is_called(name, tmp_path):
    output = tmp_path / name
    part = output / "pages/year=2024/part-000000000001.parquet"
    part.parent.mkdir(parents=True)
    rows = [{"uri": "/scans/found.png", "page_index": 0, "text": "a text"}]
    pq.write_table(pa.Table.from_pylist(rows), part)
    said = str(RunReport("r", str(output), pages=1))
    (command,) = re.findall(r"^Query it +(.+)$", said, re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "found.png" in done.stdout


def test_inputs_without_a_document_are_told_and_no_dataset_is_named():
    text = str(RunReport("r", "/out", outcome="nothing_left"))
    assert "no document in the inputs" in text
    assert "/out/pages" not in text


def test_failures_of_what_was_not_asked_for_are_told_and_cost_no_exit_code():
    report = RunReport("r", "out")
    report.stand(0, 2)
    assert (report.exit_code, report.open_failures, report.open_elsewhere) == (0, 0, 2)
    assert "2 failures of what this run did not list" in str(report)
    report.stand(3, 1)  # others have ended some since they were counted
    assert (report.exit_code, report.open_failures, report.open_elsewhere) == (3, 1, 0)
    assert "Also open" not in str(report)
