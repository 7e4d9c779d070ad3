"""Pool sizes: they fit the cluster."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocrbatch.config import PipelineConfig
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.resources import Cluster, size_pools

LAYOUTS = st.sampled_from(["auto", "split", "fused"])


def each(found):
    return [p for p in (found.decoders, found.readers, found.detectors, found.recognizers, found.writers) if p]


def claimed(found):
    return sum(p.workers * p.cpus for p in each(found)), sum(p.workers * p.gpus for p in each(found))


@given(st.integers(1, 512), st.integers(0, 16), st.integers(1, 64), LAYOUTS, st.sampled_from(["cpu", "gpu"]))
@example(1, 16, 1, "auto", "gpu")
def test_pools_never_claim_all(cpus, gpus, nodes, layout, device):
    nodes = min(nodes, cpus)
    found = size_pools(Cluster(cpus, gpus, nodes), PipelineConfig(layout=layout), device)
    taken, graphics = claimed(found)
    assert taken <= cpus + 1e-6
    assert graphics <= (gpus if device == "gpu" else 0) + 1e-6
    assert all(p.workers >= 1 and p.threads >= 1 for p in each(found))


@given(st.integers(2, 128), st.integers(1, 32), LAYOUTS)
def test_workers_fit_into_alike_nodes(cpus, nodes, layout):
    """Each node takes its part of every pool, so none waits for a node that nobody has."""
    found = size_pools(Cluster(cpus * nodes, 0, nodes), PipelineConfig(layout=layout), "cpu")
    assert all(p.workers % nodes == 0 for p in each(found))
    assert sum(p.workers // nodes * p.cpus for p in each(found)) <= cpus + 1e-6


@pytest.mark.parametrize(
    ("cpus", "gib", "readers", "threads"),
    [
        *((2, 16, 2, 1), (2, 3, 1, 2), (4, 16, 4, 1), (8, 8, 4, 2), (12, 6, 3, 4), (16, 64, 14, 1)),
        *((16, 2, 4, 4), (16, 0, 4, 4)),
    ],
)
def test_one_machine_keeps_its_cores_busy_as_far_as_its_memory_goes(cpus, gib, readers, threads):
    found = size_pools(Cluster(cpus, memory=gib << 30), PipelineConfig(), "cpu")
    assert found.layout == "fused"
    assert (found.readers.workers, found.readers.threads) == (readers, threads)
    assert found.decoders.workers == max(1, cpus // 7)


def test_gpus_split_and_share():
    found = size_pools(Cluster(16, gpus=2), PipelineConfig(), "gpu")
    assert found.layout == "split"
    assert found.detectors.workers == found.recognizers.workers == 4
    assert found.detectors.gpus == pytest.approx(0.25)


@given(st.integers(1, 8), st.integers(4, 64), st.integers(1, 4), st.integers(0, 8), LAYOUTS)
@example(4, 4, 1, 1, "split")
def test_workers_on_gpus_fit_beside_all_others_where_some_nodes_have_none(gpus, cpus, with_gpus, without, layout):
    nodes = with_gpus + without
    cluster = Cluster(cpus * nodes, gpus * with_gpus, nodes, gpu_cpus=cpus * with_gpus)
    found = size_pools(cluster, PipelineConfig(layout=layout), "gpu")
    others = sum(p.workers * p.cpus for p in (found.decoders, found.writers))
    model_workers = claimed(found)[0] - others
    assert model_workers <= max(0.1, cluster.gpu_cpus - others) + 1e-6


def test_gpus_are_left_alone_by_an_engine_on_cpus():
    found = size_pools(Cluster(16, gpus=2), PipelineConfig(), "cpu")
    assert found.layout == "fused"
    assert claimed(found)[1] == 0
    assert found.readers.threads == 4


@given(st.integers(1, 8), st.sampled_from([1.0, 0.5, 0.3, 0.25, 0.1]), st.sampled_from(["split", "fused"]))
def test_a_share_of_a_gpu_gives_the_number_of_workers(gpus, share, layout):
    config = PipelineConfig(layout=layout, gpus_per_worker=share)
    if layout == "split" and share == 1.0 and gpus == 1:
        with pytest.raises(UsageError, match="2 workers need 2 GPUs, and the cluster has 1"):
            size_pools(Cluster(64, gpus=gpus), config, "gpu")
        return
    found = size_pools(Cluster(64, gpus=gpus), config, "gpu")
    workers = sum(p.workers for p in each(found)) - found.decoders.workers - found.writers.workers
    assert gpus * int(1 / share) - 1 <= workers <= gpus * int(1 / share)
    assert claimed(found)[1] <= gpus + 1e-6


@given(st.integers(1, 8), st.integers(1, 9))
def test_named_workers_share_whole_gpus(gpus, workers):
    found = size_pools(Cluster(64, gpus=gpus), PipelineConfig(layout="fused", readers=workers), "gpu")
    assert found.readers.workers == workers
    assert int(1 / found.readers.gpus + 1e-9) * gpus >= workers, "none lies across two"


def test_what_the_config_names_is_taken():
    config = PipelineConfig(layout="split", decoders=3, detectors=5, recognizers=7)
    found = size_pools(Cluster(64), config, "cpu")
    assert (found.decoders.workers, found.detectors.workers, found.recognizers.workers) == (3, 5, 7)
