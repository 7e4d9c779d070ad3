"""Paths below an output, and Hive's spelling."""

from __future__ import annotations

import pytest

from ocrbatch.errors import UsageError
from ocrbatch.sinks import layout


@pytest.mark.parametrize(
    ("values", "folder"),
    [
        ({}, ""),
        ({"dt": "2026-11-20"}, "dt=2026-11-20"),
        ({"site": "a/b", "k": "50% = ü"}, "site=a%2Fb/k=50%25 %3D ü"),
        ({"site": None}, "site=__HIVE_DEFAULT_PARTITION__"),
        ({"site": ""}, "site=__HIVE_DEFAULT_PARTITION__"),
        ({"site": ".."}, "site=.."),
        ({"q": "\n[^]'\""}, "q=%0A%5B%5E%5D%27%22"),
    ],
)
def test_hive_spelling(values: dict[str, str | None], folder: str) -> None:
    assert layout.hive_partition(values) == folder


@pytest.mark.parametrize(
    "uri", ["/data/pages/out/pages/dt=1/p.parquet", "s3://b/pages/dt=1/p.parquet", "pages/dt=1/p.parquet"]
)
def test_below_takes_the_last_folder_of_the_name(uri: str) -> None:
    assert layout.below(uri, "pages") == "pages/dt=1/p.parquet"


def test_below_refuses_what_is_elsewhere() -> None:
    with pytest.raises(ValueError, match="not below"):
        layout.below("/data/x/p.parquet", "pages")


def test_epochs_of_paths() -> None:
    assert layout.epoch_of(layout.staged_path(12)) == 12
    assert layout.epoch_of("_ocrbatch/staging/x/y") == -1
    assert layout.is_staged_part(layout.staged_path(1))
    assert not layout.is_staged_part(layout.merged_path(1))
    assert not layout.is_staged_part("_ocrbatch/staging/000000000001/.x.parquet.tmp")


@pytest.mark.parametrize("shard", ["", "../x", "a/b", ".hidden"])
def test_a_shard_is_a_file_name(shard: str) -> None:
    with pytest.raises(UsageError):
        layout.lease_path(shard)


def test_values_that_no_disk_can_name_are_cut() -> None:
    one, other = (layout.hive_partition({"folder": "ü/" * 200 + end}) for end in "ab")
    assert one != other
    assert max(map(len, (one, other))) < 255
    assert layout.hive_partition({"folder": "x" * 180}) == "folder=" + "x" * 180
