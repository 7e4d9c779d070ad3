"""What `plan` refuses, and what it can't know."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset import DOCUMENTS

from ocrbatch.config import load
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.preview import preview

pytestmark = pytest.mark.models


def test_what_a_run_would_refuse(tmp_path):
    pq.write_table(pa.table({"uri": ["/a.png"], "year": [2026]}), tmp_path / "list.parquet")
    values = {"input.manifest": str(tmp_path / "list.parquet"), "output.uri": str(tmp_path / "out")}
    with pytest.raises(UsageError, match="year"):
        preview(load(values=values | {"output.partition_by": r"(?P<year>\d+)", "engine.name": "fake"}))


def test_the_fingerprint_of_a_cluster_is_its_workers_to_tell(tmp_path, monkeypatch):
    wanted = {"input.uris": [str(DOCUMENTS)], "output.uri": str(tmp_path / "out"), "engine.name": "fake"}
    here = preview(load(values=wanted))
    assert here.fingerprint and here.fingerprint in str(here)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    there = preview(load(values=wanted | {"engine.device": "gpu"}))  # this machine needs none
    assert there.fingerprint is None
    assert "workers" in str(there)
    assert there.tally == here.tally
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert preview(load(values=wanted)).fingerprint == here.fingerprint
