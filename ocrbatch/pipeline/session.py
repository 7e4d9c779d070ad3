"""Ray itself: joining a cluster or starting one here, and Ray Data's settings for this job."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import ray

from ocrbatch.config import JobConfig, PipelineConfig
from ocrbatch.errors import StoppedEarlyError, UsageError
from ocrbatch.pipeline.drain import explained
from ocrbatch.pipeline.forgetting import Forgetting
from ocrbatch.pipeline.interrupts import held
from ocrbatch.pipeline.patience import LEAST_LOST, Patience
from ocrbatch.pipeline.prepare import cluster_address
from ocrbatch.pipeline.reach import reach
from ocrbatch.pipeline.resources import Cluster
from ocrbatch.stages.identity import Identity, identify

log = logging.getLogger(__name__)

OBJECT_STORE_SHARE: Final = 0.15  # of the machine's memory
# With less, Ray Data handed on a page at a time, before pages travelled in batches: 60 pages of 9 MB took 196 s with
# 100 MiB, 50 s with this (a container's /dev/shm of 64 MB, the engine fake). Where /dev/shm is smaller, Ray keeps its
# store in /tmp.
OBJECT_STORE_MIN: Final = 512 << 20
OBJECT_STORE_MAX: Final = 2 << 30
INIT_DEATHS: Final = 3
ASK_CPUS: Final = 0.05
ANY_GPU: Final = 0.01  # of one: enough to be sent to a node that has some
WORKER: Final = "ocrbatch-"
WAITING: Final = 1.0
"""Bytes that wait before a stage, for each that its workers have in hand. A detector far ahead of its recognizer has
more to lose when a node dies, and fills the object store."""
LINGER_SECONDS: Final = 3.0  # for workers to end by themselves, and to tidy up, before they are made to


def stays_here(config: PipelineConfig) -> bool:
    """Whether all workers will be on this machine; False also where that is unknown before a cluster is joined."""
    return not _cluster().elsewhere if ray.is_initialized() else cluster_address(config) is None


@contextmanager
def session(config: PipelineConfig, run_id: str) -> Iterator[Cluster]:
    """A connected Ray for the length of a `with`. What was started for the run is ended with it: Ray, or its workers.

    Joins, in this order: a Ray that this process is in already, `pipeline.address`, the cluster of the Ray job that
    this process is (RAY_ADDRESS). Otherwise starts Ray on this machine.
    """
    joined = ray.is_initialized()
    address = None if joined else cluster_address(config)
    if address:
        _look_for(address)
    with _quiet():
        try:
            if not joined:
                with held(), _without_handlers():
                    _connect(config)
            bound = config.object_store_mb if joined or address else None  # a Ray of ours was started with it
            with _settings(bound):
                yield replace(_cluster(), lives_on=joined)
        finally:
            if joined:
                end_workers(run_id)
            else:
                ray.shutdown()


def worker_options(run_id: str) -> dict[str, Any]:
    """Ray options of one more worker of a run: a name of its own, by which `end_workers` finds it."""
    return {"name": f"{WORKER}{run_id}-{uuid4().hex}"}


def end_workers(run_id: str) -> None:
    """Ends what a pass of this run left behind.

    What a worker needs to start goes away with its pass, so one that was restarting then never does, and keeps its
    CPUs: the next pass would wait for them for ever.
    """
    deadline = time.monotonic() + LINGER_SECONDS
    while (left := _workers(run_id)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for name in left:
        with suppress(ValueError):  # it has ended meanwhile
            ray.kill(ray.get_actor(name))
    if left:
        log.info("%d workers were left behind by a pass, and ended", len(left))


def _workers(run_id: str) -> list[str]:
    return [name for name in ray.util.list_named_actors() if name.startswith(f"{WORKER}{run_id}-")]


def _look_for(address: str) -> None:
    """Before `ray.init`, which tries for minutes where nobody answers, and signals wait with it."""
    try:
        reach(address)
    except (OSError, ValueError) as error:
        raise _not_joined(address, error) from error


def _not_joined(address: str, error: Exception) -> UsageError:
    return UsageError(
        f"can't join the Ray cluster {address}: {error}",
        "Check pipeline.address (or RAY_ADDRESS) and the head node.",
    )


def _connect(config: PipelineConfig) -> None:
    address = cluster_address(config)
    quiet = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": True}
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # it would rebuild the environment for each worker
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # those of its own actors; ours are asked for
    if address:
        try:
            with _muted():
                ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _not_joined(address, error) from error
        return
    store = (config.object_store_mb << 20) if config.object_store_mb else _object_store_bytes()
    try:
        with _muted():
            ray.init(address="local", include_dashboard=False, object_store_memory=store, **quiet)
    except Exception as error:  # a node that is slow to start is a plain Exception
        raise StoppedEarlyError(
            f"Ray did not start on this machine: {error}",
            "It may have been too busy: run the same command again. If it stays, see `ocrbatch doctor` and /tmp/ray.",
        ) from error


@contextmanager
def _without_handlers() -> Iterator[None]:
    """Keeps Ray from taking SIGTERM: its handler ends the process with 15, wherever that is."""
    kept = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = kept


@contextmanager
def _muted() -> Iterator[None]:
    """Without standard error: Ray's core says there that it took its log level from the environment."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _object_store_bytes() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shared = os.statvfs("/dev/shm")
    free = shared.f_bavail * shared.f_frsize
    return max(OBJECT_STORE_MIN, min(OBJECT_STORE_MAX, int(memory * OBJECT_STORE_SHARE), int(free * 0.9)))


@contextmanager
def _settings(object_store_mb: int | None) -> Iterator[None]:
    """Ray Data's settings, in a copy of those that the process has: a joined one has its own jobs."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_fallback_to_arrow_object_ext_type = False
    context.downstream_capacity_backpressure_ratio = WAITING
    context.target_max_block_size = 1  # each batch (`stages.batches`) is a block
    context.max_errored_blocks = LEAST_LOST
    context.custom_execution_callback_classes = [
        *context.custom_execution_callback_classes,
        Patience,
        Forgetting,
    ]
    context.max_consecutive_actor_init_deaths = INIT_DEATHS
    if object_store_mb is not None:
        options = context.execution_options
        options.resource_limits = options.resource_limits.copy(object_store_memory=float(object_store_mb << 20))
    # Ray has no other way yet to name an actor and to bound its restarts; that is why its version is pinned below 2.64.
    warnings.filterwarnings("ignore", message="`ray_remote_args(_fn)?` is deprecated")
    # After a worker's death the stage behind it may get nothing: that is made up for, and no matter of settings.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    with ray.data.DataContext.current(context):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data tells a worker's death in forty lines; the run says it in one. Its own log file keeps everything."""
    levels = {
        handler: handler.level
        for handler in logging.getLogger("ray.data").handlers
        # the application's own may be among them
        if type(handler).__module__.startswith("ray.") and isinstance(handler, logging.StreamHandler)
    }
    for handler in levels:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


def _cluster() -> Cluster:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    working = [node["NodeID"] for node in nodes if node["Resources"].get("CPU", 0) > 0]
    elsewhere = working != [ray.get_runtime_context().get_node_id()]
    return Cluster(
        total.get("CPU", 0.0),
        total.get("GPU", 0.0),
        max(1, len(working)),
        elsewhere,
        memory=total.get("memory", 0.0),
        gpu_cpus=sum(node["Resources"].get("CPU", 0.0) for node in nodes if node["Resources"].get("GPU", 0) > 0),
    )


def identified(config: JobConfig, cluster: Cluster) -> Identity:
    """What the workers will compute with: asked of one of them, as this may be a head node without their hardware."""
    if not cluster.elsewhere:
        return identify(config)
    gpus = ANY_GPU if cluster.gpus and config.engine.device != "cpu" else 0
    asked = ray.remote(num_cpus=ASK_CPUS, num_gpus=gpus)(identify)
    try:
        identity: Identity = ray.get(asked.remote(config))
    except ray.exceptions.RayError as error:
        raise explained(error) from error
    return identity
