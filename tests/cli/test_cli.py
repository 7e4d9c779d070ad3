"""The command line: what people type, what they read, and the exit codes."""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset import DOCUMENTS
from PIL import Image
from row_examples import failure_row

from ocrbatch.cli import doctor
from ocrbatch.cli.main import VERBS, main
from ocrbatch.config import JobConfig, OutputConfig
from ocrbatch.errors import StoppedEarlyError
from ocrbatch.pipeline import run as pipeline
from ocrbatch.pipeline import worklist
from ocrbatch.records import Document
from ocrbatch.report.summary import RunReport
from ocrbatch.schema import FAILURES, PAGES
from ocrbatch.sinks.commit import Committer
from ocrbatch.sinks.parquet import stage
from ocrbatch.sources.selection import Work
from ocrbatch.storage import Storage


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "exit codes" in out
    assert "--json" in out


def test_help_and_light_verbs_load_no_heavy_library():
    code = (
        "import sys; from ocrbatch.cli.main import main\n"
        "assert main(['config']) == main(['models', 'list']) == 0\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('ray', 'openvino', 'onnxruntime', 'cv2', 'pyarrow', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--input", "x"], "there is no output"),
        (["run", "--output", "x"], "there is no input"),
        (["run", "--input", "x", "--output", "y", "--set", "engine.nam=x"], "engine.nam: there is no such key"),
        (["run", "--input", "x", "--output", "y", "--set", "documents.dpy=1"], "did you mean documents.dpi?"),
        (["run", "--input", "x", "--output", "y", "--set", "engine"], "key=value"),
        (["run", "no-such-config.yaml"], "no-such-config.yaml"),
        pytest.param(["plan", "--input", "/nowhere", "--output", "y"], "/nowhere", marks=pytest.mark.models),
        (["models", "pull"], "no model to pull"),
        (["retry", "x", "--only", "FILE_TO_LARGE"], "Did you mean FILE_TOO_LARGE?"),
        (["dismiss", "x"], "which failures"),
        (["run", "--set", "engine.name=x"], "should be 'auto', 'openvino', 'onnxruntime' or 'paddle'"),
        (["run", "broken.yaml"], "broken.yaml"),
        (["run", f"file://{DOCUMENTS}/invoice.png"], "not UTF-8"),
        (["run", f"file://{DOCUMENTS}/nothing.yaml"], "nothing.yaml"),
        (["run", "--input", "x", "--set", "documents.pages=2026-13-01"], "documents.pages"),
    ],
)
def test_bad_usage_is_one_clear_message(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_bytes(b"output: {uri: \xff}")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "->" in err, "with a remedy"
    assert "Traceback" not in err


def test_a_glob_that_the_shell_has_opened_out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--output", "o", "--input", "a.jpg", "b.jpg", "c.jpg"])
    assert ended.value.code == 2
    assert "unrecognized arguments: c.jpg; --input takes one: quote a glob" in capsys.readouterr().err
    for config in ("b.jpg", str(tmp_path)):
        assert main(["plan", "--output", "o", "--input", "a.jpg", config]) == 2
        assert "a glob goes in quotes" in capsys.readouterr().err


@pytest.mark.models
def test_plan_says_what_is_left_and_does_nothing(tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["plan", "--json", "--input", str(DOCUMENTS), "--output", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["listed"], found["left"], found["complete"]) == (7, 7, 0)
    assert found["names"]["pdf"] == 2
    assert not output.exists()


def test_dismissed_failures_count_no_more(output, capsys):
    before = sorted(output.rglob("part-*"))
    dismiss = ["dismiss", str(output), "--only"]
    assert main([*dismiss, "PDF_BROKEN"]) == 2
    assert "no open failure fits" in capsys.readouterr().err
    assert main([*dismiss, "FETCH_FAILED", "--json"]) == 0
    assert [each["uri"] for each in json.loads(capsys.readouterr().out)["dismissed"]] == ["/in/d.pdf"]
    assert main(["status", str(output), "--json"]) == 3
    assert [each["uri"] for each in json.loads(capsys.readouterr().out)["failures"]] == ["/in/c.pdf"]
    assert main(["dismiss", str(output), "--uri", "*"]) == 0
    assert "/in/c.pdf" in capsys.readouterr().out
    assert main(["status", str(output)]) == 0
    assert main(["verify", str(output)]) == 0
    assert sorted(output.rglob("part-*")) == before, "their rows stay"


def test_dismiss_takes_a_document_whole_or_not_at_all(output, capsys):
    storage = Storage()
    rows = [failure_row(uri="/in/d.pdf", page_index=3, code="PDF_PAGE_BROKEN", stage="decode", retryable=False)]
    with Committer.open(storage, OutputConfig(uri=str(output)), "r") as committer:
        table = pa.Table.from_pylist([{**rows[0], "attempt": 4}], schema=FAILURES)
        committer.add([stage(storage, str(output), committer.epoch, table, "failures")])
        committer.add(
            [
                stage(
                    storage,
                    str(output),
                    committer.epoch,
                    pa.Table.from_pylist(
                        [failure_row(uri="/in/d.pdf", page_index=4, code="DETECT_FAILED", attempt=4)], schema=FAILURES
                    ),
                    "failures",
                )
            ]
        )
        committer.close()
    assert main(["dismiss", str(output), "--only", "DETECT_FAILED"]) == 2
    assert "/in/d.pdf has failures with other codes" in capsys.readouterr().err
    assert main(["dismiss", str(output), "--only", "DETECT_FAILED", "--only", "PDF_PAGE_BROKEN"]) == 0
    assert main(["status", str(output)]) == 3, "that of c.pdf"


def test_dismiss_ends_what_was_cut_off_even_where_nothing_fits_then(output, capsys):
    with Committer.open(Storage(), OutputConfig(uri=str(output)), "r"):
        pass
    assert main(["status", str(output)]) == 5
    assert main(["dismiss", str(output), "--uri", "/nowhere/*"]) == 2
    assert main(["status", str(output)]) == 3


def test_dismiss_writes_nothing_into_a_log_that_has_lost_its_end(output):
    for record in sorted((output / "_ocrbatch/log").iterdir())[2:]:
        record.unlink()
    left = sorted((output / "_ocrbatch/log").iterdir())
    assert main(["dismiss", str(output), "--uri", "*"]) == 4
    assert sorted((output / "_ocrbatch/log").iterdir()) == left


@pytest.mark.parametrize("verb", ["status", "verify", "retry", "show", "dismiss"])
def test_an_output_is_not_named_with_credentials(verb, capsys):
    assert main([verb, "s3n://KEY:word@bucket/out", *["--uri=*"] * (verb == "dismiss")]) == 2
    err = capsys.readouterr().err
    assert "the output s3n://bucket/out has" in err
    assert "word" not in err


SECRETS = [
    "input.storage.secret=hunter2",
    "input.storage.options={client_kwargs: {password: 77001}, auth: [hunter3, hunter4]}",
    "output.storage.options={account_key: hunter5}",
]


def test_config_lists_every_key_with_its_meaning_and_hides_secrets(capsys):
    words = ["config", "--set", "documents.dpi=200", *(word for secret in SECRETS for word in ("--set", secret))]
    assert main([*words, "--json"]) == 0
    out = capsys.readouterr().out
    assert list(json.loads(out)["input"]["storage"]["options"]) == ["client_kwargs", "auth"]
    assert "hunter" not in out
    assert "77001" not in out
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "documents.dpi = 200.0" in out
    assert "output.storage.options" in out
    assert "hunter" not in out
    assert "77001" not in out
    values = [line for line in out.splitlines() if line and not line.startswith(" ")]
    meanings = [line for line in out.splitlines() if line.startswith("    ") and line.strip()]
    assert len(values) == len(meanings) > 50


@pytest.mark.models
def test_doctor_finds_this_machine_fit(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = {f["what"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["PP-OCRv6_small_det"]["level"] == "ok"
    assert findings["opencv"]["said"] == "opencv-python-headless 4.10.0.84"


def test_doctor_notes_what_hinders_no_run(monkeypatch):
    small = os.statvfs_result((4096, 4096, 100, 100, 100, 0, 0, 0, 0, 255))
    monkeypatch.setattr(doctor.os, "statvfs", lambda path: small)
    monkeypatch.setattr(doctor, "_owners", lambda module: ["opencv-python-headless", "pillow"])
    found = {what: (level, said) for level, what, said in [*doctor._machine(), *doctor._libraries()]}
    assert found["/dev/shm"][0] == doctor.NOTE
    level, said = found["opencv"]
    assert level == doctor.NOTE
    assert "opencv-python-headless 4.10.0.84 and pillow" in said


def test_doctor_names_the_opencv_that_the_project_wants():
    assert doctor.OPENCV in (DOCUMENTS.parents[2] / "pyproject.toml").read_text()


@pytest.mark.models
def test_models_verify_fails_where_it_could_check_nothing(capsys, tmp_path, monkeypatch):
    assert main(["models", "verify", "PP-OCRv6_small_det"]) == 0
    assert "ok: " in capsys.readouterr().out
    assert main(["models", "verify", "PP-OCRv5_server_det", "PP-OCRv6_small_det"]) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert "not pinned" in first
    assert "ok: " in second
    monkeypatch.setattr("ocrbatch.models.carriers.located", lambda known, cache: None)
    assert main(["models", "verify"]) == 2
    assert "no weights here" in capsys.readouterr().err


def test_status_and_verify_count_the_same_parts(output, capsys):
    found = []
    for verb, code in (("status", 3), ("verify", 0)):
        assert main([verb, "--json", str(output)]) == code
        found.append(json.loads(capsys.readouterr().out))
        assert main([verb, str(output)]) == code
        assert "2 in 1 part" in capsys.readouterr().out
    assert [tree["parts"] for tree in found] == [1, 1]


@pytest.mark.parametrize(
    ("ended", "wanted", "said"),
    [
        (130, "abdef", "2 documents or pages are still to be read"),
        (5, None, "the last run had not listed all yet"),
        (143, "abd", ""),
        (0, "abdef", ""),
    ],
)
def test_status_tells_what_a_run_left(output, ended, wanted, said, capsys):
    """a and b are held, d has failed."""
    storage, folder = Storage(), Path(worklist.folder_of(str(output), 4, "20261121T000000-1"))
    if wanted:
        work = [Work(Document(f"/in/{name}.{'png' if name in 'ab' else 'pdf'}", "e")) for name in wanted]
        list(worklist.write(work, [], storage, str(folder), workers=1))
        worklist.write_settings(JobConfig(), storage, str(folder))
    storage.put(str(folder / "pass-2/manifest-00000.parquet"), b"of a later pass of the same run")
    report = {"run_id": "20261121T000000-1", "outcome": "interrupted", "exit_code": ended}
    storage.put(str(folder / "report.json"), json.dumps(report).encode())
    if ended == 0:
        storage.put(str(folder / "done"), b"")
    assert main(["status", str(output)]) == (5 if said else 3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Unfinished")]
    assert lines == [f"Unfinished   {said}: run the same command again"] * bool(said)
    assert main(["status", str(output), "--json"]) == (5 if said else 3)
    tree = json.loads(capsys.readouterr().out)
    assert (tree["last_run"], tree["missing"]) == (report, 2 if ended == 130 else 0)
    assert [(failure["uri"], failure["attempt"]) for failure in tree["failures"]] == [
        ("/in/c.pdf", 1),
        ("/in/d.pdf", 3),
    ]


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_a_run_that_begins_meanwhile_is_not_told_to_be_deleted(verb, output, capsys, monkeypatch):
    storage, listed, begun = Storage(), worklist.runs, []

    def runs(*where):
        if not begun:
            begun.append(Committer.open(storage, OutputConfig(uri=str(output)), "r"))
            folder = worklist.folder_of(str(output), begun[0].epoch, "r")
            list(worklist.write([Work(Document("/in/e.pdf", "e"))], [], storage, folder, workers=1))
            worklist.write_settings(JobConfig(), storage, folder)
        return listed(*where)

    monkeypatch.setattr(worklist, "runs", runs)
    assert main([verb, str(output)]) == 5
    said = capsys.readouterr().out
    assert "1 documents or pages" in said and "at work" in said and "delete " not in said
    begun[0].close()
    assert main([verb, str(output)]) == 5
    said = capsys.readouterr().out
    assert "at work" not in said and f"delete {listed(storage, str(output))[0][0]}" in said


ODD = "\x1b[31mred\nerror\udce9"  # the last stands for a byte that is no UTF-8
SHOWN = r"\x1b[31mred\nerror\udce9"


def test_names_are_shown_escaped_and_kept_in_json(tmp_path, capsys):
    folder, storage = tmp_path / "out", Storage()
    row = failure_row(uri=f"/in/{ODD[:-1]}", retryable=False)
    with Committer.open(storage, OutputConfig(uri=str(folder)), "r") as committer:
        table = pa.Table.from_pylist([row], schema=FAILURES)
        committer.add([stage(storage, str(folder), committer.epoch, table, "failures")])
        committer.close()
    (folder / "failures" / "\x9b2J.parquet").write_bytes(b"")
    for verb, code, shown in (("status", 3, rf"/in/{SHOWN[:-6]}"), ("verify", 4, r"\x9b2J.parquet")):
        assert main([verb, str(folder)]) == code
        out = capsys.readouterr().out
        assert shown in out
        assert out.replace("\n", "").isprintable()
    assert main(["status", str(folder), "--json"]) == 3
    assert [failure["uri"] for failure in json.loads(capsys.readouterr().out)["failures"]] == [row["uri"]]


@pytest.mark.parametrize("words", [["run", ODD], ["run", "x.yaml", ODD], ["status", ODD]])
def test_an_error_is_on_one_line_whatever_it_names(words, capsys):
    with suppress(SystemExit):
        main(words)
    told = capsys.readouterr().err
    assert SHOWN in told
    assert told.replace("\n", "").isprintable()


@pytest.mark.models
def test_a_warning_is_on_one_line_whatever_it_names(tmp_path):
    (tmp_path / ODD).symlink_to("/")
    line = [sys.executable, "-m", "ocrbatch.cli.main", "plan", "--input", str(tmp_path), "--output", "x"]
    told = subprocess.run(line, capture_output=True, text=True, check=True).stderr
    assert f"{SHOWN} leads to a folder" in told
    assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize("path", ["s3n://KEY:PLANTED@bucket/c.yaml", "http://me:PLANTED@127.0.0.1:9/c.yaml"])
def test_a_config_s_own_place_shows_no_secret(path, capsys):
    assert main(["run", path]) == 2
    said = capsys.readouterr().err
    assert "user part" in said and "PLANTED" not in said


def test_a_config_that_is_signed_for_is_named_without_its_signature(capsys):
    assert main(["run", "http://127.0.0.1:9/c.yaml?signature=PLANTED"]) == 2
    said = capsys.readouterr().err
    assert "127.0.0.1:9/c.yaml" in said and "PLANTED" not in said


def test_a_run_writes_nothing_where_a_password_is_missing(tmp_path, capsys):
    rule = "documents.passwords=[{pattern: '*.nothing', env: NO_SUCH_VARIABLE_HERE}]"
    assert main(["run", "--input", str(DOCUMENTS), "--output", str(tmp_path / "out"), "--set", rule]) == 2
    assert "NO_SUCH_VARIABLE_HERE is not set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_does_not_write_beside_parts_whose_log_is_lost(output, capsys):
    shutil.rmtree(output / "_ocrbatch")
    assert main(["run", "--input", str(DOCUMENTS), "--output", str(output)]) == 4
    assert "is in no record of the log, of which the end must be lost" in capsys.readouterr().err
    assert not (output / "_ocrbatch").exists()


def test_status_of_a_code_that_it_does_not_know_and_of_attempts(output, capsys):
    assert main(["status", str(output)]) == 3
    out = capsys.readouterr().out
    assert "1 FROM_THE_FUTURE (x): a code that this version of ocrbatch does not know" in out
    assert out.count("tried 3 times: a run tries again what was tried less often than pipeline.attempts") == 1


@pytest.mark.parametrize("where", ["stdout", "both"])
def test_a_reader_that_went_away_hides_no_exit_code(output, where):
    next((output / "pages").glob("*.parquet")).unlink()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ocrbatch.cli.main", "verify", str(output)],
        stdout=write, stderr=write if where == "both" else subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 4
    assert not done.stderr


def test_a_full_device_hides_no_exit_code(output):
    words = f"{shlex.quote(sys.executable)} -m ocrbatch.cli.main"
    lost = "standard output could not be written: No space left on device\n"
    for line, code, told in (
        (f"status --json {output} >/dev/full", 3, lost),
        (f"status {output} >/dev/full 2>&1", 3, ""),
        ("run 2>/dev/full", 2, ""),
    ):
        done = subprocess.run(["sh", "-c", f"{words} {line}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (code, told), line


def test_a_stream_that_was_never_open_hides_no_exit_code(output):
    next((output / "pages").glob("*.parquet")).unlink()
    words = f"{shlex.quote(sys.executable)} -m ocrbatch.cli.main"
    for line, code in ((f"verify {output} >&- 2>&-", 4), ("config >&-", 0), ("run 2>&-", 2)):
        done = subprocess.run(["sh", "-c", f"{words} {line}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (code, ""), line


@pytest.mark.parametrize("report", [RunReport("r", "/out", outcome="stopped", pages=7, stopped_with=5), None])
def test_a_stopped_run_prints_its_report_as_json(report, capsys, monkeypatch):
    def stopped(config, **how):
        error = StoppedEarlyError("the disk is full", "Free some.")
        error.report = report
        raise error

    monkeypatch.setattr(pipeline, "run", stopped)
    assert main(["run", "--json", "--input", "x", "--output", "y"]) == 5
    said = capsys.readouterr()
    assert "the disk is full" in said.err
    if report is None:
        assert said.out == ""
    else:
        assert {"pages": 7, "exit_code": 5}.items() <= json.loads(said.out).items()


def test_show_names_documents_that_are_there_where_one_is_not(one_image, capsys):
    assert main(["show", str(one_image), "other.png"]) == 2
    assert "/page.png" in capsys.readouterr().err


def test_show_says_that_a_character_has_no_font(one_image, tmp_path, capsys):
    part = next((one_image / "pages").iterdir())
    rows = pq.read_table(part).to_pylist()
    for text, boxed in (("\U0001f9ff \u25a1", True), ("plain \u25a1", False)):
        pq.write_table(pa.Table.from_pylist([{**rows[0], "texts": [text]}], schema=PAGES), part)
        assert main(["show", str(one_image), "--to", str(tmp_path / "x.png")]) == 0
        assert ("--font" in capsys.readouterr().out) == boxed


def test_show_writes_where_it_can_and_says_where_it_cannot(one_image, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    show = ["show", str(one_image), "page.png", "--to"]
    assert main([*show, "name"]) == 0
    assert Image.open(io.BytesIO(Path("name").read_bytes())).format == "PNG"
    for target in ("page.xyz", "nowhere/page.png", "."):
        capsys.readouterr()
        assert main([*show, target]) == 2
        assert f"can't write {target}" in capsys.readouterr().err


@pytest.mark.models
def test_status_and_plan_refuse_a_log_that_has_lost_its_end_like_run(output, capsys):
    plan = ["--input", str(DOCUMENTS), "--output", str(output)]
    for record in sorted((output / "_ocrbatch/log").iterdir())[2:]:
        record.unlink()
    for command in (["status", str(output)], ["plan", *plan], ["run", *plan]):
        assert main(command) == 4
        assert "in no record of the log, of which the end must be lost" in capsys.readouterr().err


@pytest.mark.models
def test_an_output_whose_log_has_a_gap_is_refused_before_anything_is_written(output, capsys):
    for record in sorted((output / "_ocrbatch/log").iterdir())[1:3]:
        record.unlink()
    before = sorted(output.rglob("*"))
    job = ["--input", str(DOCUMENTS), "--output", str(output)]
    for command in (["status", str(output)], ["verify", str(output)], ["plan", *job], ["run", *job]):
        assert main(command) == 4
        assert "000000000001.json of" in capsys.readouterr().err
    assert sorted(output.rglob("*")) == before


def test_an_output_whose_log_is_gone_is_no_folder_that_nobody_wrote(output, capsys):
    shutil.rmtree(output / "_ocrbatch")
    for verb in ("status", "verify"):
        assert main([verb, str(output)]) == 4
        assert "is in no record of the log" in capsys.readouterr().err


def test_status_of_an_output_that_is_not_there(tmp_path, capsys):
    for verb in ("status", "verify"):
        assert main([verb, str(tmp_path / "nothing")]) == 2
        assert "no output of a run" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.models
@pytest.mark.usefixtures("local_ray")
def test_run_status_verify_and_show(tmp_path, capsys):
    output, picture = tmp_path / "out", tmp_path / "page.png"
    assert main(["run", "--input", str(DOCUMENTS / "agreement.pdf"), "--output", str(output)]) == 0
    said = capsys.readouterr()
    assert f"{output}/pages" in said.out
    assert "duckdb" in said.out
    assert main(["status", "--json", str(output)]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == 2
    assert main(["verify", str(output)]) == 0
    assert "exactly once" in capsys.readouterr().out
    assert main(["show", str(output), "agreement.pdf", "--page", "2", "--to", str(picture)]) == 0
    assert "page 2" in capsys.readouterr().out

    import cv2

    height, width = cv2.imread(str(picture)).shape[:2]
    assert width > height, "two pages side by side"

    next((output / "pages").glob("*.parquet")).unlink()
    assert main(["verify", str(output)]) == 4
    assert "PROBLEM" in capsys.readouterr().out


def test_a_profile_counts_where_neither_the_config_nor_set_names_a_key(tmp_path, capsys):
    profile, job = tmp_path / "profile.yaml", tmp_path / "job.yaml"
    profile.write_text("# tuned\npipeline: {layout: split, page_batch: 16, decoders: 2}\nengine: {threads: 1}\n")
    job.write_text("pipeline: {page_batch: 4}\n")
    words = ["config", str(job), "--profile", str(profile), "--set", "pipeline.layout=fused", "--json"]
    assert main(words) == 0
    tree = json.loads(capsys.readouterr().out)
    found = {key: tree["pipeline"][key] for key in ("layout", "page_batch", "decoders")}
    assert found == {"layout": "fused", "page_batch": 4, "decoders": 2}
    assert tree["engine"]["threads"] == 1
    assert main(["config", str(profile), "--json"]) == 0, "a profile is a config"
    assert json.loads(capsys.readouterr().out)["pipeline"]["page_batch"] == 16


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_a_profile_that_is_none_is_told_by_its_own_name(verb, tmp_path, capsys):
    (tmp_path / "profile.yaml").write_text("pipeline: {page_batches: 4}\n")
    words = [verb, "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--profile"]
    assert main([*words, str(tmp_path / "profile.yaml")]) == 2
    assert "profile.yaml: pipeline.page_batches: there is no such key" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "none.yaml")]) == 2
    assert "can't read the config" in capsys.readouterr().err


def test_tune_replaces_no_file_but_a_profile_and_says_so_at_once(tmp_path, capsys):
    mine = tmp_path / "profile.yaml"
    mine.write_text("input: {uris: [mine]}\n")
    assert main(["tune", "--input", str(tmp_path), "--output-profile", str(mine)]) == 2
    assert "is there already and no profile" in capsys.readouterr().err
    assert mine.read_text() == "input: {uris: [mine]}\n"
    with pytest.raises(SystemExit):
        main(["tune", "--input", str(tmp_path), "--seconds", "0"])
