"""`ocrbatch retry`: what failed for good is read with other settings, and nothing else is touched."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset import DOCUMENTS, rows, snapshot
from PIL import Image

from ocrbatch.cli.main import main
from ocrbatch.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]

NAMES = ["invoice.png", "agreement.pdf", "gone.png"]


@pytest.fixture(scope="module")
def failed(tmp_path_factory, local_ray):
    """The output of a run that could read the smallest file only: 1 page, and the failures of two files."""
    folder = tmp_path_factory.mktemp("failed")
    sizes = {name: (DOCUMENTS / name).stat().st_size for name in NAMES[:2]}
    small = min(sizes, key=sizes.get)
    assert small == "agreement.pdf"
    uris = [str(DOCUMENTS / name) for name in NAMES]
    pq.write_table(pa.table({"uri": uris, "shelf": pa.array([1, 2, 3], pa.int16())}), folder / "list.parquet")
    output = folder / "out"
    words = ["--manifest", str(folder / "list.parquet"), "--output", str(output), "--set", "engine.name=fake"]
    assert main(["run", *words, "--set", f"documents.max_bytes={sizes[small]}"]) == 3
    assert {row["code"] for row in rows(output, "failures")} == {"FILE_TOO_LARGE", "FETCH_NOT_FOUND"}
    return output


@pytest.fixture
def output(failed, tmp_path):
    return shutil.copytree(failed, tmp_path / "out")


def test_a_failure_is_read_again_with_other_settings(output, capsys):
    before = rows(output)
    words = ["retry", str(output), "--only", "FILE_TOO_LARGE", "--json"]
    words += ["--set", "documents.max_bytes=10000000", "--set", "documents.dpi=100"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["documents_listed"], report["pages"], report["open_failures"]) == (1, 1, 0)
    after = rows(output)
    (row,) = [row for row in after if row not in before]
    assert row["uri"].endswith("invoice.png")
    assert row["shelf"] == 1, "the manifest's column comes along"
    assert row["document_mtime"] is not None
    assert row["fingerprint"] != before[0]["fingerprint"], "it was read with other settings"
    assert main(["verify", str(output)]) == 0
    capsys.readouterr()
    assert main(["status", str(output), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["open_failures"] == {"FETCH_NOT_FOUND": 1}


def test_what_was_dismissed_has_no_open_failure_until_a_run_asks_for_it_again(output, capsys):
    assert main(["dismiss", str(output), "--only", "FETCH_NOT_FOUND"]) == 0
    capsys.readouterr()
    assert main(["status", str(output), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["open_failures"] == {"FILE_TOO_LARGE": 1}
    assert main(["verify", str(output)]) == 0
    capsys.readouterr()
    words = ["--manifest", str(output.parent / "list.jsonl"), "--output", str(output), "--set", "engine.name=fake"]
    (output.parent / "list.jsonl").write_text(json.dumps({"uri": str(DOCUMENTS / "gone.png")}))
    assert main(["run", *words, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["open_failures"], report["open_elsewhere"]) == (1, 1)
    assert main(["status", str(output), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["open_failures"] == {"FILE_TOO_LARGE": 1, "FETCH_NOT_FOUND": 1}


def test_what_fails_again_stays_one_open_failure(output, capsys):
    assert main(["retry", str(output), "--only", "FILE_TOO_LARGE", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["failures"] == {"FILE_TOO_LARGE": 1}
    tried = [row["attempt"] for row in rows(output, "failures") if row["code"] == "FILE_TOO_LARGE"]
    assert sorted(tried) == [1, 2]


def test_failures_of_pages_that_the_last_run_did_not_want_are_told(tmp_path, capsys):
    frames = [Image.new("RGB", (64, 48), (200, 40 * number, 0)) for number in range(3)]
    frames[0].save(tmp_path / "three.tiff", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.png")
    output = str(tmp_path / "out")
    words = ["--output", output, "--set", "engine.name=fake"]
    fault = ["--set", "engine.options={fault: raise, marker: [0, 80, 200]}"]
    assert main(["run", "--input", str(tmp_path / "three.tiff"), *words, *fault]) == 3
    assert main(["run", "--input", str(tmp_path / "one.png"), *words, "--set", "documents.pages=1-2"]) == 0
    capsys.readouterr()
    assert main(["retry", output]) == 2
    assert "documents.pages=1-2, of the last run, leaves out" in capsys.readouterr().err
    assert main(["retry", output, "--set", "documents.pages="]) == 0
    assert main(["status", output]) == 0


def test_pages_that_a_retry_left_are_told_and_read(tmp_path, capsys):
    """A document fails as a whole; a retry reads one page of it only, as one that is stopped would."""
    file, output = tmp_path / "in" / "three.tiff", tmp_path / "out"
    file.parent.mkdir()
    pages = [Image.new("RGB", (64, 64), (gray, gray, gray)) for gray in (200, 220, 240)]
    pages[0].save(file, save_all=True, append_images=pages[1:])
    run = ["run", "--input", str(file.parent), "--output", str(output), "--set", "engine.name=fake"]
    assert main([*run, "--set", "documents.max_bytes=100"]) == 3
    retry = ["retry", str(output), "--set", "documents.max_bytes=1000000"]
    assert main([*retry, "--set", "documents.pages=1"]) == 0
    assert [main([verb, str(output)]) for verb in ("status", "verify")] == [5, 5]
    left = shutil.copytree(output, tmp_path / "left")
    assert main(retry) == 0
    assert len(rows(output)) == 3
    assert [main([verb, str(output)]) for verb in ("status", "verify")] == [0, 0]
    run[run.index(str(output))] = str(left)
    assert main([*run, "--set", "documents.max_bytes=100"]) == 3
    assert [(row["code"], row["attempt"]) for row in rows(left, "failures")] == [
        ("FILE_TOO_LARGE", 1),
        ("FILE_TOO_LARGE", 2),
    ]
    assert [main([verb, str(left)]) for verb in ("status", "verify")] == [3, 0]
    capsys.readouterr()


def test_a_replaced_file_is_read_as_it_is_now(tmp_path, capsys):
    file, output = tmp_path / "in" / "page.png", tmp_path / "out"
    file.parent.mkdir()
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["run", "--input", str(file.parent), "--output", str(output), "--set", "engine.name=fake"]) == 3
    shutil.copy(DOCUMENTS / "invoice.png", file)
    capsys.readouterr()
    assert main(["retry", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["open_failures"] == 0
    (row,) = rows(output)
    assert row["etag"] == Storage().stat(str(file)).etag
    assert [main([verb, str(output)]) for verb in ("status", "verify")] == [0, 0]


def test_a_version_that_only_a_retry_met_keeps_its_columns(tmp_path):
    file, output, listed = tmp_path / "page.png", tmp_path / "out", tmp_path / "list.csv"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    listed.write_text("uri,shelf\npage.png,7\n")
    assert main(["run", "--manifest", str(listed), "--output", str(output), "--set", "engine.name=fake"]) == 3
    file.write_bytes(b"\x89PNG\r\n\x1a\n again")  # another broken one
    assert main(["retry", str(output)]) == 3
    shutil.copy(DOCUMENTS / "invoice.png", file)
    assert main(["retry", str(output)]) == 0
    (row,) = rows(output)
    assert row["shelf"] == "7"


def test_nothing_that_fits_changes_nothing(output, capsys):
    before = snapshot(output)
    for words in (["--uri", "*.tif"], ["--only", "WORKER_CRASHED"]):
        assert main(["retry", str(output), *words]) == 0
        assert "fits --only and --uri" in capsys.readouterr().out
    assert main(["retry", str(output), "--only", "NO_SUCH_CODE"]) == 2
    assert "NO_SUCH_CODE" in capsys.readouterr().err
    assert snapshot(output) == before


def test_an_output_that_is_none(tmp_path, capsys):
    assert main(["retry", str(tmp_path)]) == 2
    assert "no settings of a run" in capsys.readouterr().err
