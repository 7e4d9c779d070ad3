"""A config that can't work is refused before anything starts, in words."""

import pyarrow as pa
import pytest

from ocrbatch.config import load
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.prepare import Inputs, check, check_extra
from ocrbatch.storage import Storage


def refused(*overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        check(load("", list(overrides)))
    return str(caught.value)


def test_input_and_output_are_needed(tmp_path):
    assert "no output" in refused("input.uris=[in]")
    assert "no input" in refused(f"output.uri={tmp_path}")


def test_inputs_or_a_manifest(tmp_path):
    assert "a manifest" in refused("input.uris=[in]", "input.manifest=list.csv", f"output.uri={tmp_path}")


def test_an_input_may_not_lie_in_the_output(tmp_path):
    for uri in (tmp_path, tmp_path / "scans"):
        assert "lies in the output" in refused(f"input.uris={uri}", f"output.uri={tmp_path}")
    check(load("", [f"input.uris={tmp_path}", f"output.uri={tmp_path}/out"]))


@pytest.fixture
def linked(tmp_path):
    """An input that holds its output, and a link to it."""
    (tmp_path / "in/out/pages").mkdir(parents=True)
    for name in ("a.png", "out/pages/part-1.parquet"):
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "link").symlink_to("in")
    return tmp_path


@pytest.mark.parametrize("output", ["in/out", "link/out"])
@pytest.mark.parametrize("given", ["in", "link"])
def test_the_output_is_no_input_by_whatever_name(given, output, linked):
    config = load("", [f"input.uris={linked}/{given}", f"output.uri={linked}/{output}"])
    check(config)
    assert [d.uri for d in Inputs(config, Storage()).documents()] == [f"{linked}/{given}/a.png"]
    (linked / "list.txt").write_text(f"{given}/a.png\n{given}/out/pages/part-1.parquet\n")
    config = load("", [f"input.manifest={linked}/list.txt", f"output.uri={linked}/{output}"])
    assert [d.uri for d in Inputs(config, Storage()).documents()] == [f"{linked}/{given}/a.png"]
    below = f"input.uris={linked}/{given}/out/pages"
    assert "lies in the output" in refused(below, f"output.uri={linked}/{output}")


@pytest.mark.s3
def test_s3_has_three_schemes(s3_env):
    bucket, storage = s3_env.bucket(), Storage()
    for name in ("a.png", "out/pages/part-1.parquet"):
        storage.put(f"s3://{bucket}/in/{name}", b"")
    config = load("", [f"input.uris=s3a://{bucket}/in", f"output.uri=s3://{bucket}/in/out/"])
    assert [d.uri for d in Inputs(config, storage).documents()] == [f"s3a://{bucket}/in/a.png"]
    assert "lies in the output" in refused(f"input.uris=S3N://{bucket}/in/out", f"output.uri=s3://{bucket}/in/out")


@pytest.mark.parametrize("output", ["http://127.0.0.1/out", "gs://bucket/out", "memory://out"])
def test_only_disks_and_s3_are_written(output):
    assert "can be read, not written" in refused("input.uris=[in]", f"output.uri={output}")


def test_a_file_is_no_output_nor_holds_one(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    for output in (file, file / "below", file / "below" / "it"):
        assert f"{file} is a file" in refused("input.uris=[in]", f"output.uri={output}")
    check(load("", ["input.uris=[in]", f"output.uri={tmp_path}/new/er"]))


def test_a_model_folder_may_not_hold_credentials(tmp_path):
    folder = "detection.model_dir='https://me:word@127.0.0.1/det'"
    said = refused("input.uris=[in]", f"output.uri={tmp_path}", folder)
    assert "detection.model_dir" in said and "word" not in said


@pytest.mark.parametrize("user", ["me:word@", "me:wo/rd@"])
@pytest.mark.parametrize("kind", ["s3", "s3n", "s3a", "https"])
@pytest.mark.parametrize("key", ["input.uris", "output.uri", "recognition.model_dir"])
def test_no_place_is_named_with_credentials(key, kind, user, tmp_path):
    values = {"input.uris": ["in"], "output.uri": str(tmp_path)}
    place = f"{kind}://{user}bucket/x"
    with pytest.raises(UsageError, match="://bucket/x has a query or a user part") as caught:
        check(load("", [], "", values | {key: [place] if key == "input.uris" else place}))
    assert "rd" not in str(caught.value)


@pytest.mark.parametrize("query", ["s3://b/x?X-Amz-Signature=", "s3n://b/x?e=1&Signature=", "gs://b/x?sig="])
def test_no_input_is_a_presigned_url(query, tmp_path):
    said = refused(f"input.uris=['{query}planted']", f"output.uri={tmp_path}")
    assert "has a query or a user part" in said and "planted" not in said
    check(load("", ["input.uris=['s3://b/x?y.png']", f"output.uri={tmp_path}"]))


@pytest.mark.parametrize("address", ["ray://u:planted@127.0.0.1:9", "u:planted@127.0.0.1:9", "ray://h:9?t=planted"])
@pytest.mark.parametrize("by_variable", [True, False])
def test_the_cluster_is_not_named_with_credentials(address, by_variable, tmp_path, monkeypatch):
    settings = ["input.uris=[in]", f"output.uri={tmp_path}"]
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    else:
        settings.append(f"pipeline.address={address}")
    said = refused(*settings)
    assert "pipeline.address" in said and "planted" not in said


def test_a_key_may_have_an_at_sign(tmp_path):
    check(load("", ["input.uris=['s3://bucket/me:b/a@b/']", "output.uri=s3://bucket/out@noon"]))


def test_a_partition_has_no_name_of_a_manifest_column(tmp_path):
    config = load("", [f"output.uri={tmp_path}", "output.partition_by='(?P<site>x)'"])
    check_extra([pa.field("shelf", pa.string())], config)
    with pytest.raises(UsageError, match="site"):
        check_extra([pa.field("site", pa.string())], config)


@pytest.mark.parametrize(
    ("rule", "word"), [("(", "no regular expression"), ("year", "names no group"), ("(?P<uri>.*)", "columns already")]
)
def test_partition_rules(rule, word, tmp_path):
    assert word in refused("input.uris=[in]", f"output.uri={tmp_path}", f"output.partition_by={rule}")


@pytest.mark.parametrize("output", ["s3://", "s3:///", "s3:///out"])
def test_an_s3_output_has_a_bucket(output):
    """As where the variable with its name is unset."""
    assert "no bucket" in refused("input.uris=[in]", f"output.uri={output}")
    assert "no bucket" in refused(f"input.uris=[{output}]", "output.uri=out")
