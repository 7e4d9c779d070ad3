"""A job with the engine fake on nodes that say they have GPUs: prints what each of its model workers was given.

    python tests/ray/declared_gpus.py FOLDER '[[CPUs, GPUs], ...]' [KEY=VALUE ...]

FOLDER gets the pages and the output. Nobody computes on these GPUs, so any machine will do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.cluster_utils import Cluster

sys.path.insert(0, str(Path(__file__).parent.parent))
from dataset import bar_pages, job

from ocrbatch.pipeline import build

PAGES = 24


def telling(stage: type, folder: Path) -> type:
    """The stage, whose workers leave a file with what Ray has given them."""

    class Telling(stage):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            context = ray.get_runtime_context()
            found = {
                "stage": stage.__name__,
                "node": context.get_node_id(),
                "gpu": context.get_assigned_resources().get("GPU", 0.0),
                "gpus": context.get_accelerator_ids()["GPU"],
            }
            (folder / uuid4().hex).write_text(json.dumps(found))
            super().__init__(*given)

    return Telling


def main() -> None:
    """Prints a JSON object: the run's exit code, its pages, and a list of the workers."""
    folder, nodes, overrides = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    told = folder / "told"
    told.mkdir()
    build.DetectStage, build.RecognizeStage, build.ReadStage = (
        telling(stage, told) for stage in (build.DetectStage, build.RecognizeStage, build.ReadStage)
    )
    (cpus, gpus), *others = nodes
    store = {"object_store_memory": 100 << 20}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False, **store},
    )
    for cpus, gpus in others:
        cluster.add_node(num_cpus=cpus, num_gpus=gpus, **store)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        report = job(
            folder / "out",
            f"input.uris=[{bar_pages(folder / 'pages', PAGES)}]",
            *("engine.name=fake", "engine.device=gpu", "pipeline.page_batch=1", *overrides),
        )
    finally:
        ray.shutdown()
        cluster.shutdown()
    workers = [json.loads(path.read_text()) for path in told.iterdir()]
    print(json.dumps({"exit_code": report.exit_code, "pages": report.pages, "workers": workers}))


if __name__ == "__main__":
    main()
