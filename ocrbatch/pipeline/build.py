"""From a config to a Ray Dataset: the flow of the job, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from ocrbatch.pipeline.resources import Pool, Pools
from ocrbatch.pipeline.session import worker_options
from ocrbatch.pipeline.worklist import ManifestFile
from ocrbatch.stages.decode import PLACE, DecodeStage
from ocrbatch.stages.detect import DetectStage
from ocrbatch.stages.identity import Identity
from ocrbatch.stages.read import ReadStage
from ocrbatch.stages.recognize import RecognizeStage
from ocrbatch.stages.write import Imprint, WriteStage

# A page that kills its worker is tried once more by Ray, then its block is given up; what is missing is read again
# afterwards. Without restarts a dead actor would keep its place and the job would stall.
CRASHES: Final[dict[str, Any]] = {"max_restarts": -1, "max_task_retries": 1}


def build(
    identity: Identity,
    pools: Pools,
    manifest: Sequence[ManifestFile],
    imprint: Imprint,
    *,
    alone: bool = False,
) -> Dataset:
    """manifest -> decode -> (detect -> recognize | read) -> write: a lazy Dataset of write results (`write.RESULT`).

    alone: each page is a batch, and so a task, of its own: a worker that dies loses that page only.
    """
    config = identity.config
    # Blocks that are there, and not a Datasource: its tasks would each start a process, which takes seconds.
    places = [pa.table([[file.uri], [group]], schema=PLACE) for file in manifest for group in range(file.row_groups)]
    pages = ray.data.from_blocks(places).map_batches(
        DecodeStage,
        fn_constructor_args=(config, identity.decoders),
        fn_constructor_kwargs={"alone": alone},
        **_pool(pools.decoders, imprint.run_id, alone),
    )

    def models(rows: Dataset, stage: type, pool: Pool) -> Dataset:
        args = (config, identity.fingerprint, pool.threads)
        return rows.map_batches(stage, fn_constructor_args=args, **_pool(pool, imprint.run_id, alone))

    if pools.readers:
        lines = models(pages, ReadStage, pools.readers)
    else:
        assert pools.detectors and pools.recognizers, "the layout split has two pools"
        lines = models(models(pages, DetectStage, pools.detectors), RecognizeStage, pools.recognizers)
    # Workers and not tasks: on a small machine Ray ends a task's process after a second without work.
    return lines.map_batches(
        WriteStage,
        fn_constructor_args=(config, imprint),
        **_pool(pools.writers, imprint.run_id, alone),
    )


def _pool(pool: Pool, run_id: str, alone: bool) -> dict[str, Any]:
    # A task that only waits for a worker is lost with it all the same, when it dies as often as tasks are retried.
    in_flight = 1 if alone else None
    return {
        "compute": ActorPoolStrategy(size=pool.workers, max_tasks_in_flight_per_actor=in_flight),
        "num_cpus": pool.cpus,
        "num_gpus": pool.gpus or None,
        # A block at a time; Ray Data wants a number where there are GPUs, and a block is one row (`stages.batches`).
        "batch_size": 1 if pool.gpus else None,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "ray_remote_args_fn": partial(worker_options, run_id),
        **CRASHES,
    }
