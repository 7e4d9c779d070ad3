"""Which settings are tried on which cluster."""

import pytest

from ocrbatch.config import fingerprint, load
from ocrbatch.errors import UsageError
from ocrbatch.pipeline.resources import Cluster, size_pools
from ocrbatch.reading.reader import resolved
from ocrbatch.tuning.grid import applied, described, grid, needs, settings
from ocrbatch.tuning.search import points, size, start

LAPTOP = Cluster(cpus=2, memory=16 << 30)
CLUSTERS = [
    (LAPTOP, "cpu"),
    (Cluster(cpus=1, memory=2 << 30), "cpu"),
    (Cluster(cpus=16, memory=64 << 30), "cpu"),
    (Cluster(cpus=16, memory=4 << 30), "cpu"),
    (Cluster(cpus=64, nodes=4, memory=256 << 30), "cpu"),
    (Cluster(cpus=16, gpus=1, memory=64 << 30), "gpu"),
    (Cluster(cpus=64, gpus=8, memory=512 << 30), "gpu"),
]


def keys(found):
    return {key for point in points(found) for key in settings(point)}


def test_on_two_cpus_it_is_small_and_has_all_that_matters():
    found = grid(load(), "cpu", LAPTOP)
    assert 30 <= size(found) <= 60
    assert keys(found) == {
        *("pipeline.layout", "pipeline.readers", "pipeline.detectors", "pipeline.recognizers", "pipeline.decoders"),
        *("pipeline.page_batch", "engine.threads", "recognition.batch_pixels"),
    }
    assert [dimension.name for dimension in found] == ["pools", "page_batch", "batch_pixels", "decoders"]


@pytest.mark.parametrize(("cluster", "device"), CLUSTERS)
def test_every_point_fits_the_cluster(cluster, device):
    found = grid(load(), device, cluster, ["fp32", "fp16"])
    for point in points(found):
        pools = size_pools(cluster, applied(load(), settings(point)).pipeline, device)  # raises for want of GPUs
        taken = [pools.decoders, pools.writers, pools.readers, pools.detectors, pools.recognizers]
        assert sum(pool.workers * pool.cpus for pool in taken if pool) <= cluster.cpus
        assert sum(pool.workers * pool.gpus for pool in taken if pool) <= cluster.gpus + 1e-6
    assert len(set(points(found))) == size(found)


@pytest.mark.parametrize(("cluster", "device"), CLUSTERS)
def test_it_starts_with_what_counts_without_tuning(cluster, device):
    point = settings(start(grid(load(), device, cluster)))
    tuned, usual = (size_pools(cluster, c.pipeline, device) for c in (applied(load(), point), load()))
    assert tuned == usual
    assert point["pipeline.page_batch"] == load().pipeline.page_batch


def test_little_memory_leaves_out_many_workers():
    def most(memory, *overrides):
        found = grid(load("", overrides), "cpu", Cluster(cpus=8, memory=memory << 30))
        return max(settings(point).get("pipeline.readers", 0) for point in points(found))

    assert most(64) == 8
    assert most(8) == 4
    assert most(8, "pipeline.worker_memory_mb=600") == 8, "the config knows it better"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("pipeline.page_batch=3", "pipeline.page_batch"),
        ("pipeline.decoders=1", "pipeline.decoders"),
        ("recognition.batch_pixels=4096", "recognition.batch_pixels"),
        ("pipeline.readers=3", "pipeline.readers"),
        ("pipeline.readers=null", "pipeline.readers"),
        ("pipeline.layout=split", "pipeline.layout"),
        ("pipeline.layout=auto", "pipeline.layout"),
        ("engine.threads=1", "engine.threads"),
        ("engine.precision=fp32", "engine.precision"),
    ],
)
def test_what_the_config_names_stays_as_it_is(override, key):
    assert key in keys(grid(load(), "cpu", LAPTOP, ["bf16", "fp32"]))
    assert key not in keys(grid(load("", [override]), "cpu", LAPTOP, ["bf16", "fp32"]))


def test_a_named_layout_or_pool_leaves_out_the_other_layout():
    def found(*overrides):
        return {name.rpartition(".")[2] for name in keys(grid(load("", overrides), "cpu", LAPTOP))}

    assert not {"readers"} & found("pipeline.layout=split")
    assert not {"detectors", "recognizers"} & found("pipeline.layout=fused")
    assert not {"detectors", "recognizers"} & found("pipeline.readers=2")
    assert not {"readers"} & found("pipeline.recognizers=1", "pipeline.layout=split")


def test_detection_alone_has_no_recognizers_to_tune():
    found = keys(grid(load("task: detect"), "cpu", LAPTOP))
    assert not {"recognition.batch_pixels", "pipeline.recognizers", "pipeline.detectors"} & found


@pytest.mark.models
def test_no_point_changes_a_result_unless_that_is_asked_for():
    config = load("{engine: {name: fake}, pipeline: {layout: fused, page_batch: 8}}")
    usual = fingerprint(config, resolved(config))

    def others(precisions):
        tuned = [applied(config, settings(point)) for point in points(grid(config, "cpu", LAPTOP, precisions))]
        return {fingerprint(each, resolved(each)) for each in tuned} - {usual}

    assert others(None) == set()
    assert others(["fp32", "bf16"]), "engine.precision is part of the fingerprint"


def test_on_gpus_the_batch_of_the_recognizer_is_part_of_the_fingerprint():
    gpu = Cluster(cpus=16, gpus=1, memory=64 << 30)
    assert "recognition.batch_pixels" not in keys(grid(load(), "gpu", gpu))
    assert "recognition.batch_pixels" in keys(grid(load(), "gpu", gpu, ["fp32", "fp16"]))


def test_more_workers_or_larger_batches_of_a_layout_need_as_much_memory():
    def point(**values):
        return (tuple((f"pipeline.{key}", value) for key, value in values.items()),)

    small = point(layout="fused", readers=1, page_batch=8)
    assert needs(small, small)
    assert needs(point(layout="fused", readers=2, page_batch=8), small)
    assert needs(point(layout="fused", readers=1, page_batch=16), small)
    assert not needs(point(layout="fused", readers=2, page_batch=4), small)
    assert not needs(point(layout="split", detectors=2, recognizers=2, page_batch=16), small)


def test_a_point_reads_as_its_keys_and_becomes_a_config():
    point = start(grid(load(), "cpu", LAPTOP))
    assert described(point) == "layout=fused readers=2 threads=1 page_batch=8 batch_pixels=4096 decoders=1"
    config = applied(load("output: {uri: out}"), settings(point))
    assert (config.pipeline.readers, config.engine.threads, config.output.uri) == (2, 1, "out")


def test_a_config_that_asks_for_more_gpus_than_there_are_is_refused():
    with pytest.raises(UsageError, match="GPUs"):
        grid(load("", ["pipeline.detectors=9", "pipeline.gpus_per_worker=1"]), "gpu", CLUSTERS[-1][0])
