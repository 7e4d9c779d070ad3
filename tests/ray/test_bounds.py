"""A run that fails everywhere ends early, says why, and keeps what it has."""

import pytest
from dataset import job, rows

from ocrbatch.errors import StoppedEarlyError

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def broken(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_a_run_that_fails_everywhere_stops_early(broken, tmp_path):
    wanted = [f"input.uris=[{broken}]", "engine.name=fake", "output.commit_seconds=0.1"]
    with pytest.raises(StoppedEarlyError, match="results are failures") as caught:
        job(tmp_path / "out", *wanted)
    report = caught.value.report
    assert (caught.value.exit_code, report.exit_code) == (5, 5)
    assert "max_error_rate" in caught.value.remedy
    failed = len(rows(tmp_path / "out", "failures"))
    assert 100 <= failed < 400
    again = job(tmp_path / "out", *wanted, "pipeline.max_error_rate=1.1")
    assert again.exit_code == 3
    uris = [row["uri"] for row in rows(tmp_path / "out", "failures")]
    assert len(uris) == len(set(uris)) == 400, "what failed for good is not tried again"
