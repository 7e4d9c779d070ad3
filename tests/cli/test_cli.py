"""The command line: what people type, what they read, and the exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ocrbatch.cli.main import VERBS, main

DOCUMENTS = Path(__file__).parent.parent / "resources" / "documents"


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
        (["plan", "--input", "/nowhere", "--output", "y"], "/nowhere"),
        (["models", "pull"], "no model to pull"),
    ],
)
def test_bad_usage_is_one_clear_message(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "->" in err, "with a remedy"
    assert "Traceback" not in err


@pytest.mark.models
def test_plan_says_what_is_left_and_does_nothing(tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["plan", "--json", "--input", str(DOCUMENTS), "--output", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["listed"], found["left"], found["complete"]) == (7, 7, 0)
    assert found["names"]["pdf"] == 2
    assert not output.exists()


def test_config_lists_every_key_with_its_meaning_and_hides_secrets(capsys):
    assert main(["config", "--set", "input.storage.secret=hunter2", "--set", "documents.dpi=200"]) == 0
    out = capsys.readouterr().out
    assert "documents.dpi = 200.0" in out
    assert "hunter2" not in out
    values = [line for line in out.splitlines() if line and not line.startswith(" ")]
    meanings = [line for line in out.splitlines() if line.startswith("    ") and line.strip()]
    assert len(values) == len(meanings) > 50


@pytest.mark.models
def test_doctor_finds_this_machine_fit(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = {f["what"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings["PP-OCRv6_small_det"]["level"] == "ok"
    assert findings["opencv"]["said"] == "opencv-python-headless 4.10.0.84"


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
