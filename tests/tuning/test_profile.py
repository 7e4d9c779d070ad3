"""The profile: a config of the tuned keys, which replaces nothing but a profile."""

import pytest

from ocrbatch.config import load, named
from ocrbatch.errors import UsageError
from ocrbatch.tuning.profile import check, text, write

SETTINGS = {"pipeline.layout": "fused", "engine.threads": 2, "pipeline.readers": 3}


def test_it_is_a_config_of_the_tuned_keys_alone():
    body = text(SETTINGS, ["Made       today", "Sample     a\nb: [\x1b"])
    assert named(body, "p") == {"pipeline": {"layout": "fused", "readers": 3}, "engine": {"threads": 2}}
    comment = [line for line in body.splitlines() if line.startswith("#")]
    assert comment[0].startswith("# A profile of `ocrbatch tune`")
    assert comment[1:] == ["# Made       today", r"# Sample     a\nb: [\x1b"], "no line ends within a comment"
    assert load(body).pipeline.readers == 3


def test_nothing_but_a_profile_is_replaced(tmp_path):
    path = tmp_path / "profile.yaml"
    for number in range(2):
        check(path)
        write(path, text({"engine.threads": number + 1}, []))
    assert named(path.read_text(), "p") == {"engine": {"threads": 2}}
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("input: {uris: [mine]}\n")
    with pytest.raises(UsageError, match="is there already and no profile"):
        check(path)


@pytest.mark.parametrize("name", ["no/such/folder.yaml", "folder.yaml", "/proc/profile.yaml"])
def test_where_it_cannot_be_written_is_told_before_anything_is_measured(tmp_path, name):
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UsageError, match="profile"):
        check(tmp_path / name)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
