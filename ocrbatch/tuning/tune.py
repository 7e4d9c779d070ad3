"""Tuning, from a config and a sample to a profile: grid, search, and what a person is told of them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ocrbatch import __version__
from ocrbatch.config import JobConfig, OutputConfig
from ocrbatch.documents import passwords
from ocrbatch.engines import cpu, gpu
from ocrbatch.engines.registry import RUNTIMES, choose
from ocrbatch.errors import InterruptedRunError, UsageError
from ocrbatch.pipeline.interrupts import interruptible
from ocrbatch.pipeline.prepare import Inputs, check, new_run_id
from ocrbatch.pipeline.session import session
from ocrbatch.report.progress import duration
from ocrbatch.stages.identity import Identity, identify
from ocrbatch.storage import Storage, redact
from ocrbatch.tuning import profile
from ocrbatch.tuning.grid import grid, needs, settings
from ocrbatch.tuning.probe import Prober, Trial
from ocrbatch.tuning.search import Found, Grid, search, size

DOCUMENTS: Final = 512  # of a sample; more would not be read within a probe
BUSY: Final = 0.5  # processes that run or wait, for each CPU, before there is any of ours


@dataclass(frozen=True, slots=True)
class Tuned:
    """The settings that were found, and how. start_pages_per_second: without tuning, None where that does not run.

    same_results: the fingerprint is the one that pages have without tuning.
    """

    settings: dict[str, Any]
    pages_per_second: float
    start_pages_per_second: float | None
    points: int
    left_out: int
    seconds: float
    documents: int
    machine: str
    engine: dict[str, str]
    fingerprint: str
    same_results: bool
    profile: str
    trials: list[Trial]

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        took = f"{len(self.trials)} measurements, {self.points} settings, {duration(self.seconds)}"
        use = f"ocrbatch run --profile {self.profile} ..."
        return f"Fastest     {self.speed} ({took})\nProfile     {self.profile}: {use}"

    @property
    def speed(self) -> str:
        """With and without tuning, for people."""
        if self.start_pages_per_second is None:
            return f"{self.pages_per_second:.2f} pages/s; without tuning it does not run here"
        faster = self.pages_per_second / self.start_pages_per_second - 1
        return f"{self.pages_per_second:.2f} pages/s, {self.start_pages_per_second:.2f} without tuning ({faster:+.0%})"


def tune(
    config: JobConfig,
    path: Path,
    *,
    change_results: bool = False,
    seconds: float = 16.0,
    say: Callable[[str], None] = print,
) -> Tuned:
    """Finds the fastest settings for the config's inputs on this machine and writes them as a profile.

    config: as it was given: what it names stays as it is, and its output is left alone. change_results: try what is
    part of the fingerprint, too. seconds: of each measurement.

    Raises what a run raises; UsageError also where no settings run, or Ray's workers are on other machines.
    """
    began = time.monotonic()
    profile.check(path)
    try:
        with bench(config, change_results=change_results, seconds=seconds, say=say) as (prober, points):
            found = search(points, prober, needs)
    except InterruptedRunError as error:
        error.remedy = "No profile was written."
        raise
    tuned = _tuned(found, prober, points, round(time.monotonic() - began, 1), path)
    profile.write(path, profile.text(tuned.settings, _said(tuned, prober, points)))
    return tuned


@contextmanager
def bench(
    config: JobConfig, *, change_results: bool, seconds: float, say: Callable[[str], None]
) -> Iterator[tuple[Prober, Grid]]:
    """What measures, and the grid of what is worth measuring, in one Ray; as for `tune`."""
    with interruptible(), tempfile.TemporaryDirectory(prefix="ocrbatch-tune-", ignore_cleanup_errors=True) as scratch:
        here = config.model_copy(update={"output": OutputConfig(uri=scratch)})
        check(here)
        passwords.require(here.documents.passwords)
        inputs = Inputs(here, Storage(here.input.storage))
        with closing(inputs.documents()) as found:
            documents = list(islice(found, DOCUMENTS))
        if not documents:
            raise UsageError("the sample has no documents", "Give --input with some that are like yours.")
        identity, run_id, load = identify(here), new_run_id(), os.getloadavg()[0]
        with session(here.pipeline, run_id) as cluster:
            if cluster.elsewhere:
                raise UsageError(
                    "Ray's workers are on other machines, and tuning measures this one",
                    "Run it on a node like them, without pipeline.address and RAY_ADDRESS.",
                )
            options = _precisions(identity) if change_results else None
            points = grid(config, identity.config.engine.device, cluster, options)
            if load > cluster.cpus * BUSY:
                say(f"Busy        this machine has other work (load {load:.1f}): what is measured will be off")
            say(f"Engine      {identity.why}")
            say(f"Sample      {len(documents)} document{'s' * (len(documents) > 1)}, read over and over")
            say(f"Grid        {size(points)} settings: {_dimensions(points)}")
            prober = Prober(here, identity, cluster, run_id, documents, inputs.extra, say, change_results, seconds)
            yield prober, points


def _precisions(identity: Identity) -> list[str]:
    """Those that the engine computes in here, the settled one first."""
    engine = identity.config.engine
    possible = [p for p in RUNTIMES[engine.name].precisions[engine.device] if p != engine.precision]
    return [engine.precision, *(p for p in possible if _computes(identity, p))]


def _computes(identity: Identity, precision: str) -> bool:
    try:
        choose(identity.config.engine.model_copy(update={"precision": precision}))
    except UsageError:
        return False
    return True


def _tuned(found: Found, prober: Prober, points: Grid, seconds: float, path: Path) -> Tuned:
    identity = prober.identified(found.point)
    return Tuned(
        settings(found.point),
        round(found.rate, 3),
        found.start_rate and round(found.start_rate, 3),
        size(points),
        found.left_out,
        seconds,
        len(prober.documents),
        _machine(prober),
        identity.engine,
        identity.fingerprint,
        identity.fingerprint == prober.identity.fingerprint,
        str(path),
        prober.trials,
    )


def _machine(prober: Prober) -> str:
    """CPUs, memory and GPUs, as Ray hands them out."""
    cluster = prober.cluster
    gpus = f", {cluster.gpus:g} GPUs ({gpu.name() or 'hidden'})" if cluster.gpus else ""
    return f"{cluster.cpus:g} CPUs ({cpu.level()}), {cluster.memory / 2**30:.1f} GiB for workers{gpus}"


def _said(tuned: Tuned, prober: Prober, points: Grid) -> Iterator[str]:
    """The profile's comment."""
    config = prober.config.input
    sample = ", ".join(map(redact, [config.manifest] if config.manifest else config.uris))
    yield f"Made       {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by ocrbatch {__version__}, in {duration(tuned.seconds)}"
    yield f"Machine    {tuned.machine}"
    yield f"Engine     {', '.join(f'{key} {value}' for key, value in tuned.engine.items())}"
    yield f"Sample     {tuned.documents} documents of {sample}"
    yield f"Speed      {tuned.speed}"
    yield f"Measured   {len(tuned.trials)} probes over {tuned.points} settings ({_dimensions(points)}): each with warm"
    yield f"           workers for {prober.seconds:g} s, the fastest more than once"
    yield (
        f"Results    the same as without (fingerprint {tuned.fingerprint})"
        if tuned.same_results
        else f"Results    others than without: fingerprint {tuned.fingerprint}, not {prober.identity.fingerprint}"
    )
    yield "Numbers of workers are of this machine: for a cluster multiply them by its nodes."


def _dimensions(points: Grid) -> str:
    return " x ".join(f"{len(dimension.values)} {dimension.name}" for dimension in points) or "nothing to choose"
