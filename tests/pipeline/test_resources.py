"""Pool sizes: they fit the cluster, and leave room for the short tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrbatch.config import PipelineConfig
from ocrbatch.pipeline.resources import LIST_CPUS, WRITE_CPUS, Cluster, plan


def pools(found):
    return [p for p in (found.decoders, found.readers, found.detectors, found.recognizers) if p]


@given(st.integers(1, 512), st.integers(0, 16), st.integers(1, 64), st.sampled_from(["auto", "split", "fused"]))
def test_pools_never_claim_all_cpus(cpus, gpus, nodes, layout):
    nodes = min(nodes, cpus)
    found = plan(Cluster(cpus, gpus, nodes), PipelineConfig(layout=layout))
    claimed = sum(p.workers * p.cpus for p in pools(found))
    assert claimed + LIST_CPUS + WRITE_CPUS <= cpus + 1e-6
    assert sum(p.workers * p.gpus for p in pools(found)) <= gpus + 1e-6
    assert all(p.workers >= 1 and p.threads >= 1 for p in pools(found))


def test_two_cores_and_no_gpu():
    found = plan(Cluster(2), PipelineConfig())
    assert found.layout == "fused"
    assert (found.decoders.workers, found.readers.workers, found.readers.threads) == (1, 1, 2)


def test_gpus_split_and_share():
    found = plan(Cluster(16, gpus=2), PipelineConfig())
    assert found.layout == "split"
    assert found.detectors.workers == found.recognizers.workers == 4
    assert found.detectors.gpus == pytest.approx(0.25)


def test_what_the_config_names_is_taken():
    found = plan(Cluster(64), PipelineConfig(layout="split", decoders=3, detectors=5, recognizers=7))
    assert (found.decoders.workers, found.detectors.workers, found.recognizers.workers) == (3, 5, 7)
