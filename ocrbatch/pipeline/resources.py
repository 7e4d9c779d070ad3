"""How many workers of which kind a cluster gets. Pure.

Invariant: the pools never claim all CPUs, because reading the manifest and writing parts need some: Ray Data hangs
otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ocrbatch.config import PipelineConfig

# Logical CPUs of the short tasks that list the work and stage parts. Small, so that a 2-core machine has room for both.
LIST_CPUS: Final = 0.05
WRITE_CPUS: Final = 0.2
# Decoding takes about a sixth of the time of reading a page on CPUs, and a worker's fetches wait on storage.
DECODE_SHARE: Final = 6
GPU_WORKERS_PER_POOL: Final = 2  # so that one fills its next batch while the other computes


@dataclass(frozen=True, slots=True)
class Cluster:
    """What Ray offers in all."""

    cpus: float
    gpus: float = 0.0
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of one stage: their number, and what Ray reserves for each. threads: of the engine in each."""

    workers: int
    cpus: float
    gpus: float = 0.0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The pools of a run. `readers` in the layout fused, `detectors` and `recognizers` in split."""

    layout: Literal["split", "fused"]
    decoders: Pool
    readers: Pool | None = None
    detectors: Pool | None = None
    recognizers: Pool | None = None

    def __str__(self) -> str:
        pools = {
            "decode": self.decoders,
            "read": self.readers,
            "detect": self.detectors,
            "recognize": self.recognizers,
        }
        each = [
            f"{pool.workers} {name} ({pool.cpus:g} CPU{f', {pool.gpus:g} GPU' if pool.gpus else ''} each)"
            for name, pool in pools.items()
            if pool
        ]
        return f"layout {self.layout}: " + ", ".join(each)


def plan(cluster: Cluster, config: PipelineConfig) -> Plan:
    """Sizes the pools for a cluster; what the config names is taken as it is.

    auto layout: fused on CPUs (one pool keeps a small machine's cores busy without balance), split where there are
    GPUs.
    """
    layout = config.layout if config.layout != "auto" else "split" if cluster.gpus else "fused"
    usable = max(0.2, cluster.cpus - LIST_CPUS - WRITE_CPUS * max(1, cluster.nodes))
    decoders = _decoders(cluster, config, usable)
    rest = max(0.1, usable - decoders.workers * decoders.cpus)
    if cluster.gpus:
        share = config.gpus_per_worker
        if layout == "fused":
            workers = config.readers or max(1, int(cluster.gpus) * GPU_WORKERS_PER_POOL)
            return Plan("fused", decoders, readers=_gpu_pool(workers, rest, share or cluster.gpus / workers))
        detectors = config.detectors or max(1, int(cluster.gpus) * GPU_WORKERS_PER_POOL)
        recognizers = config.recognizers or max(1, int(cluster.gpus) * GPU_WORKERS_PER_POOL)
        share = share or 1 / (2 * GPU_WORKERS_PER_POOL)
        return Plan(
            "split",
            decoders,
            detectors=_gpu_pool(detectors, rest / 2, share),
            recognizers=_gpu_pool(recognizers, rest / 2, share),
        )
    if layout == "fused":
        return Plan("fused", decoders, readers=_cpu_pool(config.readers, rest, cluster))
    # Recognition takes about three quarters of the time of a page on CPUs.
    return Plan(
        "split",
        decoders,
        detectors=_cpu_pool(config.detectors, rest / 4, cluster),
        recognizers=_cpu_pool(config.recognizers, rest * 3 / 4, cluster),
    )


def _decoders(cluster: Cluster, config: PipelineConfig, usable: float) -> Pool:
    workers = config.decoders or max(1, int(usable / DECODE_SHARE))
    return Pool(workers, cpus=_floor(min(1.0, usable / (DECODE_SHARE * workers))))


def _cpu_pool(workers: int | None, cpus: float, cluster: Cluster) -> Pool:
    """Workers of up to 4 threads: more threads scale badly on short lines, more workers cost memory."""
    threads = max(1, min(4, round(cluster.cpus / max(1, cluster.nodes))))
    count = workers or max(1, int(cpus / threads))
    return Pool(
        count, cpus=_floor(min(cpus / count, threads)), threads=max(1, min(threads, round(cluster.cpus / count)))
    )


def _gpu_pool(workers: int, cpus: float, share: float) -> Pool:
    return Pool(workers, cpus=_floor(min(1.0, cpus / workers)), gpus=share)


def _floor(cpus: float) -> float:
    """Down to hundredths: Ray keeps four decimals, and a sum of rounded-up shares may not fit."""
    return max(0.01, int(cpus * 100) / 100)
