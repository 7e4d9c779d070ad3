"""How many workers of which kind a cluster gets. Pure.

Invariant: the pools fit into what there is, on each node: Ray waits for ever for a worker that fits nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Final, Literal

from ocrbatch.config import PipelineConfig
from ocrbatch.errors import UsageError

# A part of 8 pages with 50 lines each takes 8 ms of a CPU; on S3 on loopback a worker writes 100 a second.
WRITE_CPUS: Final = 0.2
CPUS_PER_WRITER: Final = 16
# Decoding takes about a sixth of the time of reading a page on CPUs, and a worker's fetches wait on storage.
DECODE_SHARE: Final = 6
THREADS: Final = (1, 2, 4)
"""Threads of an engine on CPUs that are worth a try."""
# A worker with both models in OpenVINO and all their shapes compiled.
WORKER_BYTES: Final = 1280 << 20
MEMORY_SHARE: Final = 0.8  # of a node's memory, for workers with models
GPU_WORKERS_PER_POOL: Final = 2  # of a GPU, so that one fills its next batch while the other computes


@dataclass(frozen=True, slots=True)
class Cluster:
    """What Ray offers in all, over nodes that are taken to be alike.

    elsewhere: some of it is on other machines. lives_on: the process was in it before the run, and stays in it.
    memory: bytes for workers, beside Ray's object store; 0: unknown. gpu_cpus: of the nodes with GPUs; 0: of all.
    """

    cpus: float
    gpus: float = 0.0
    nodes: int = 1
    elsewhere: bool = False
    lives_on: bool = False
    memory: float = 0.0
    gpu_cpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of one stage: their number, and what Ray reserves for each. threads: of the engine in each."""

    workers: int
    cpus: float
    gpus: float = 0.0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Pools:
    """The workers of a run. `readers` in the layout fused, `detectors` and `recognizers` in split."""

    layout: Literal["split", "fused"]
    decoders: Pool
    writers: Pool
    readers: Pool | None = None
    detectors: Pool | None = None
    recognizers: Pool | None = None

    def __str__(self) -> str:
        named = {
            "decode": self.decoders,
            "read": self.readers,
            "detect": self.detectors,
            "recognize": self.recognizers,
            "write": self.writers,
        }
        each = [
            f"{pool.workers} {name} ({pool.cpus:g} CPU{f', {pool.gpus:g} GPU' if pool.gpus else ''} each)"
            for name, pool in named.items()
            if pool
        ]
        shared = {"fused": "detection and recognition in one", "split": "detection and recognition apart"}
        return f"{', '.join(each)}; {shared[self.layout]} (layout {self.layout})"


def size_pools(cluster: Cluster, config: PipelineConfig, device: str) -> Pools:
    """Sizes the pools for a cluster; what the config names is taken as it is. device: cpu or gpu, of the engine.

    auto layout: fused on CPUs (one pool keeps a small machine's cores busy without balance), split on GPUs.

    Raises UsageError where GPUs are to be used and the cluster has too few for the workers that the config names.
    """
    gpus = cluster.gpus if device == "gpu" else 0.0
    layout = config.layout if config.layout != "auto" else "split" if gpus else "fused"
    of_a_node = cluster.cpus / cluster.nodes
    writers = Pool(cluster.nodes * ceil(of_a_node / CPUS_PER_WRITER), cpus=WRITE_CPUS)
    usable = max(0.2, of_a_node - writers.workers / cluster.nodes * writers.cpus)
    decoders = _decoders(cluster, config, usable)
    rest = max(0.1, cluster.nodes * usable - decoders.workers * decoders.cpus)
    if gpus:
        if cluster.gpu_cpus:  # where the others may lie, too, though there are nodes without GPUs
            others = decoders.workers * decoders.cpus + writers.workers * writers.cpus
            rest = max(0.1, min(rest, cluster.gpu_cpus - others))
        if layout == "fused":
            pools = Pools("fused", decoders, writers, readers=_gpu_pool(config.readers, 1, rest, gpus, config))
        else:
            detectors = _gpu_pool(config.detectors, 2, rest / 2, gpus, config)
            recognizers = _gpu_pool(config.recognizers, 2, rest / 2, gpus, config)
            pools = Pools("split", decoders, writers, detectors=detectors, recognizers=recognizers)
        _check_gpus(pools, gpus)
        return pools
    most = most_on_a_node(cluster, config)
    if layout == "fused":
        return Pools("fused", decoders, writers, readers=_cpu_pool(config.readers, rest, cluster, most))
    # Recognition takes about three quarters of the time of a page on CPUs.
    return Pools(
        "split",
        decoders,
        writers,
        detectors=_cpu_pool(config.detectors, rest / 4, cluster, most / 4),
        recognizers=_cpu_pool(config.recognizers, rest * 3 / 4, cluster, most * 3 / 4),
    )


def most_on_a_node(cluster: Cluster, config: PipelineConfig) -> float:
    """Workers with models that a node's memory holds; 0 where that is unknown."""
    each = config.worker_memory_mb << 20 if config.worker_memory_mb else WORKER_BYTES
    return cluster.memory / cluster.nodes * MEMORY_SHARE / each


def _decoders(cluster: Cluster, config: PipelineConfig, usable: float) -> Pool:
    """As many on each node: its share of decoding, in workers of up to one CPU."""
    share = usable / DECODE_SHARE
    workers = config.decoders or cluster.nodes * max(1, int(share))
    return Pool(workers, cpus=_floor(min(1.0, cluster.nodes * share / workers)))


def _cpu_pool(workers: int | None, cpus: float, cluster: Cluster, most: float) -> Pool:
    """Workers of one thread each; of two or four where a node holds no more than `most`, for each has its own models.

    Two threads stand still while a worker cuts lines out or waits for the last call of a batch: of 2 CPUs two workers
    of one thread make 6% more pages a second than one of two.
    A worker's share fits into a node beside the others'; its threads are rounded up, so that no core stays idle.
    """
    of_a_node, share = max(1, round(cluster.cpus / cluster.nodes)), cpus / cluster.nodes
    fitting = (threads for threads in THREADS if ceil(share / threads) <= most)
    threads = min(THREADS[-1] if workers else next(fitting, THREADS[-1]), of_a_node)
    count = workers or cluster.nodes * ceil(share / threads)
    return Pool(count, cpus=_floor(min(cpus / count, threads)), threads=min(threads, ceil(cpus / count)))


def _gpu_pool(workers: int | None, stages: int, cpus: float, gpus: float, config: PipelineConfig) -> Pool:
    """stages: how many pools share the GPUs.

    Shares are whole fractions of a GPU, so that workers fill one and none lies across two.
    """
    if config.gpus_per_worker:
        each = max(1, floor(1 / config.gpus_per_worker + 1e-9))
    else:
        each = ceil(workers * stages / gpus) if workers else stages * GPU_WORKERS_PER_POOL
    count = workers or max(1, int(gpus * each) // stages)
    return Pool(count, cpus=_floor(min(1.0, cpus / count)), gpus=config.gpus_per_worker or 1 / each)


def _check_gpus(pools: Pools, gpus: float) -> None:
    taken = [pool for pool in (pools.readers, pools.detectors, pools.recognizers) if pool]
    needed = sum(pool.workers * pool.gpus for pool in taken)
    if needed > gpus + 1e-6:
        workers = sum(pool.workers for pool in taken)
        raise UsageError(
            f"{workers} workers need {needed:g} GPUs, and the cluster has {gpus:g} ({pools})",
            "Lower pipeline.gpus_per_worker or the workers' numbers, or take pipeline.layout=fused.",
        )


def _floor(cpus: float) -> float:
    """Down to thousandths: Ray keeps four decimals, and a sum of rounded-up shares may not fit."""
    return max(0.001, int(cpus * 1000) / 1000)
