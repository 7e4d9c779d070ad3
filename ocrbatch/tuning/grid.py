"""Which settings are worth a try on a cluster: a small grid of values around the defaults. Pure.

A value is a setting: keys of the config with what they get. What the config names stays as it is, and no value changes
a result unless that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from ocrbatch.config import JobConfig
from ocrbatch.pipeline.resources import THREADS, Cluster, Pool, Pools, most_on_a_node, size_pools
from ocrbatch.tuning.search import Dimension, Grid, Point

Setting = tuple[tuple[str, Any], ...]
"""Keys of the config and their values."""

PAGE_BATCHES: Final = {"cpu": (4, 8, 16), "gpu": (8, 16, 32, 64)}
BATCH_PIXELS: Final = {"cpu": (4096, 8192), "gpu": (4096, 8192, 16384, 32768)}
RECOGNITION_SHARE: Final = 3 / 4  # of the CPUs of a page: about its share of the time
GPU_READERS: Final = (1, 2, 3, 4)  # of each GPU
GPU_PAIRS: Final = (1, 2)  # detectors, and as many recognizers, of each GPU
SETTLING: Final = {f"pipeline.{key}" for key in ("layout", "readers", "detectors", "recognizers")}
"""The keys that, once named, leave the layout as it is without tuning."""
NEEDED: Final = (
    *("pipeline.readers", "pipeline.detectors", "pipeline.recognizers", "pipeline.decoders", "engine.threads"),
    *("pipeline.page_batch", "recognition.batch_pixels"),
)
"""The keys of which a larger value needs more memory."""
KINDS: Final = ("pipeline.layout", "engine.precision")
"""The keys that must be equal for that to be told."""


def grid(config: JobConfig, device: str, cluster: Cluster, precisions: Sequence[str] | None = None) -> Grid:
    """The dimensions, those with the largest effect first; those of one value are left out.

    config: as it was given, so that it tells which keys it names. device: cpu or gpu. precisions: of the engine, the
    one that counts without tuning first, where results may change; None: they may not.
    """
    named = _named(config)
    sized = size_pools(cluster, config.pipeline, device)
    reads = config.task != "detect" and (device == "cpu" or precisions is not None)  # GPUs choose kernels by it
    most = sized.decoders.workers
    found = [
        Dimension("precision", tuple((("engine.precision", p),) for p in precisions or ())),
        _pools(config, device, cluster, sized, named),
        _numbers("pipeline.page_batch", PAGE_BATCHES[device], config.pipeline.page_batch),
        _numbers("recognition.batch_pixels", BATCH_PIXELS[device] if reads else (), config.recognition.batch_pixels),
        _numbers("pipeline.decoders", (max(cluster.nodes, most // 2), 2 * most), most),
    ]
    wanted = [d for d in found if len(d.values) > 1 and (d.name == "pools" or _key(d) not in named)]
    return tuple(wanted)


def settings(point: Point) -> dict[str, Any]:
    """A point's keys and their values."""
    return dict(pair for setting in cast(Sequence[Setting], point) for pair in setting)


def described(point: Point) -> str:
    """For people: `layout=fused readers=1 threads=2 page_batch=8`."""
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings(point).items())


def applied(config: JobConfig, settings: dict[str, Any]) -> JobConfig:
    """The config with these keys set."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    changed = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    return config.model_copy(update=changed)


def needs(point: Point, dead: Point) -> bool:
    """Whether a point needs at least as much memory as another of its kind, as far as their keys tell."""
    one, other = settings(point), settings(dead)
    if any(one.get(key) != other.get(key) for key in KINDS):
        return False
    return all(one.get(key, 0) >= other.get(key, 0) for key in NEEDED)


def _named(config: JobConfig) -> dict[str, Any]:
    tree = config.model_dump(exclude_unset=True)
    return {
        f"{name}.{key}": v for name, section in tree.items() if isinstance(section, dict) for key, v in section.items()
    }


def _key(dimension: Dimension) -> str:
    return cast(Setting, dimension.values[0])[0][0]


def _numbers(key: str, values: Sequence[int], default: int) -> Dimension:
    """A dimension of one key, ascending, its default among the values."""
    numbers = sorted({*values, default})
    return Dimension(key.rpartition(".")[2], tuple(((key, n),) for n in numbers), numbers.index(default), ordered=True)


def _pools(config: JobConfig, device: str, cluster: Cluster, sized: Pools, named: dict[str, Any]) -> Dimension:
    """Layout, workers and their threads, or shares of a GPU: they depend on each other, so they are one dimension."""
    settled = config.task != "ocr" or SETTLING & named.keys()
    layouts = {sized.layout} if settled else {"fused", "split"}
    usual = _setting(sized, config, device)
    others = _on_gpus(cluster) if device == "gpu" else _on_cpus(cluster, config)
    candidates = [usual, *(dict(other) for other in others if other["pipeline.layout"] in layouts)]
    kept = [tuple((key, value) for key, value in each.items() if key not in named) for each in candidates]
    return Dimension("pools", tuple(dict.fromkeys(kept)))


def _setting(pools: Pools, config: JobConfig, device: str) -> dict[str, Any]:
    """What the pools are without tuning."""
    sized = {"readers": pools.readers, "detectors": pools.detectors, "recognizers": pools.recognizers}
    there = {name: pool for name, pool in sized.items() if pool}
    workers = {f"pipeline.{name}": pool.workers for name, pool in there.items()}
    return {"pipeline.layout": pools.layout, **workers, **_share(list(there.values()), config, device)}


def _share(pools: Sequence[Pool], config: JobConfig, device: str) -> dict[str, Any]:
    if device == "gpu":
        return {"pipeline.gpus_per_worker": pools[0].gpus}
    threads = {pool.threads for pool in pools}
    return {"engine.threads": config.engine.threads or (threads.pop() if len(threads) == 1 else 0)}


def _on_cpus(cluster: Cluster, config: JobConfig) -> Iterator[dict[str, Any]]:
    """Workers whose threads fill the CPUs of each node, few with many threads and many with few, and twice as many."""
    nodes, cpus = cluster.nodes, max(1, round(cluster.cpus / cluster.nodes))
    most = max(1, int(most_on_a_node(cluster, config.pipeline))) if cluster.memory else cpus
    threads = [count for count in THREADS if count <= cpus]
    filled = [(cpus // count, count) for count in threads]
    for workers, count in [*filled[::-1], (2 * filled[-1][0], filled[-1][1])]:
        if workers <= most:
            yield {"pipeline.layout": "fused", "pipeline.readers": nodes * workers, "engine.threads": count}
    for count in threads[::-1]:
        recognizers = max(1, round(cpus * RECOGNITION_SHARE / count))
        detectors = max(1, round(cpus * (1 - RECOGNITION_SHARE) / count))
        if detectors + recognizers <= max(2, most):
            yield {
                "pipeline.layout": "split",
                "pipeline.detectors": nodes * detectors,
                "pipeline.recognizers": nodes * recognizers,
                "engine.threads": count,
            }


def _on_gpus(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Workers that share each GPU."""
    gpus = int(cluster.gpus)
    for count in GPU_READERS:
        yield {
            "pipeline.layout": "fused",
            "pipeline.readers": gpus * count,
            "pipeline.gpus_per_worker": 1 / count,
        }
    for count in GPU_PAIRS:
        yield {
            "pipeline.layout": "split",
            "pipeline.detectors": gpus * count,
            "pipeline.recognizers": gpus * count,
            "pipeline.gpus_per_worker": 1 / (2 * count),
        }
