"""Which runtime executes the models: the one that is named, or the best of those installed.

Invariant: choosing and identifying import no runtime and load no model, so they are free in a driver.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any, Final, cast

from ocrbatch.config import BATCH_PIXELS, EngineConfig
from ocrbatch.engines import cpu, gpu
from ocrbatch.engines.base import Engine, EngineOptions, Weights
from ocrbatch.errors import MissingExtraError, ModelError, UsageError
from ocrbatch.models.weights import FORMATS, Format


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a runtime can do, as known without importing it.

    module: what is imported; engines: by device, the module in this package and its class; distributions: the packages
    that bring it, of which those in gpu_distributions can use a GPU; formats: of weights; precisions: by device;
    neutral: options that can't change a result; extra, gpu_extra: of this package, that bring it for CPUs and for GPUs.
    """

    module: str
    engines: dict[str, str]
    extra: str
    formats: tuple[Format, ...]
    precisions: dict[str, tuple[str, ...]]
    distributions: tuple[str, ...]
    gpu_distributions: tuple[str, ...] = ()
    neutral: frozenset[str] = frozenset()
    gpu_extra: str = ""


RUNTIMES: Final[dict[str, Runtime]] = {
    "openvino": Runtime(
        module="openvino",
        engines={"cpu": "openvino:OpenVinoEngine"},
        extra="openvino",
        formats=("onnx",),
        precisions={"cpu": ("fp32", "bf16")},
        distributions=("openvino",),
        neutral=frozenset({"CACHE_DIR", "CACHE_MODE", "CPU_RUNTIME_CACHE_CAPACITY"}),
    ),
    "onnxruntime": Runtime(
        module="onnxruntime",
        engines={"cpu": "onnxruntime:OnnxRuntimeEngine", "gpu": "onnxruntime_gpu:OnnxRuntimeGpuEngine"},
        extra="onnxruntime",
        formats=("onnx",),
        precisions={"cpu": ("fp32",), "gpu": ("fp32", "fp16")},
        distributions=("onnxruntime-gpu", "onnxruntime"),
        gpu_distributions=("onnxruntime-gpu",),
        neutral=frozenset({"sessions", "gpu_mem_limit", "trt_engine_cache_path"}),
        gpu_extra="gpu",
    ),
    "paddle": Runtime(
        module="paddle",
        engines={"cpu": "paddle:PaddleEngine", "gpu": "paddle_gpu:PaddleGpuEngine"},
        extra="paddle",
        formats=("paddle",),
        precisions={"cpu": ("fp32",), "gpu": ("fp32", "fp16")},
        distributions=("paddlepaddle-gpu", "paddlepaddle"),
        gpu_distributions=("paddlepaddle-gpu",),
        neutral=frozenset({"gpu_memory_mb"}),
        gpu_extra="paddle-gpu",
    ),
    "fake": Runtime(
        module="numpy",
        engines={"cpu": "fake:FakeEngine", "gpu": "fake:FakeEngine"},
        extra="",
        formats=FORMATS,
        precisions={"cpu": ("fp32", "bf16", "fp16"), "gpu": ("fp32",)},
        distributions=("numpy",),
        neutral=frozenset({"seconds", "marker", "fault"}),  # a page is read as ever, or not at all
    ),
}
# What pip may bring of what chooses a GPU's kernels: other versions, other bits.
KERNEL_LIBRARIES: Final = (
    *("nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "nvidia-cublas-cu12", "nvidia-cublas"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
)
# In the order in which `auto` takes them: the first of its device's list that is installed.
AUTO: Final = {"cpu": ("openvino", "onnxruntime", "paddle"), "gpu": ("onnxruntime", "paddle")}


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and how to run it. why: one plain sentence for the log."""

    name: str
    options: EngineOptions
    why: str


def choose(config: EngineConfig, threads: int | None = None, batch_pixels: int = BATCH_PIXELS) -> Choice:
    """Settles what the config leaves open, for the machine that this runs on.

    threads: CPU threads that this worker was given, used where config.threads is 0; None for all that it may run on.
    batch_pixels: see `EngineOptions`.
    Raises MissingExtraError when the runtime isn't installed, UsageError when this machine can't do what is asked for.
    """
    name, device, why = _runtime(config)
    isa = cpu.capped(config.isa_cap)
    precision = _precision(config.precision, name, device, isa)
    if device == "cpu" and config.isa_cap is not None:
        _check_cap(name, isa)
    options = EngineOptions(
        device=device,
        precision=precision,
        threads=config.threads or threads or cpu.usable_threads(),
        memory_mb=config.memory_mb,
        isa_cap=config.isa_cap,
        batch_pixels=batch_pixels,
        extra=dict(config.options),
    )
    return Choice(name, options, f"{name} on the {device.upper()} in {precision}: {why}.")


def load(choice: Choice, weights: Weights) -> Engine:
    """Loads a model. Raises ModelError when the weights are of a format that this runtime doesn't read, or broken."""
    runtime = RUNTIMES[choice.name]
    if weights.format not in runtime.formats:
        others = [name for name, other in RUNTIMES.items() if weights.format in other.formats and name != "fake"]
        raise ModelError(
            f"the engine {choice.name} doesn't read {weights.format} models, and {weights.name} is one",
            f"Set engine.name to {' or '.join(others)}, or choose another model.",
        )
    module, _, engine = runtime.engines[choice.options.device].partition(":")
    return cast(Engine, getattr(import_module(f"ocrbatch.engines.{module}"), engine)(weights, choice.options))


def identity(choice: Choice) -> dict[str, str]:
    """What of the runtime can change the bits: build, precision, instruction set, device, options but neutral ones.

    On a GPU also the libraries that choose kernels, as far as pip brought them. Part of the fingerprint. No model is
    loaded and no runtime imported.
    """
    runtime, options = RUNTIMES[choice.name], choice.options
    found = {"engine": f"{choice.name} {_version(runtime)}", "precision": options.precision, "device": options.device}
    if options.device == "gpu":
        found["device"] = gpu.name() or "gpu"
        libraries = [f"{name} {v}" for name in KERNEL_LIBRARIES if (v := _distribution(name)) is not None]
        if libraries:
            found["libraries"] = ", ".join(libraries)
    else:
        found["isa"] = cpu.capped(options.isa_cap)
    deciding = {key: value for key, value in options.extra.items() if key not in runtime.neutral}
    if deciding:
        found["options"] = json.dumps(deciding, sort_keys=True, default=str)
    return found


def installed(name: str, device: str = "cpu") -> bool:
    """Whether a runtime is installed, and for a GPU a build of it that can use one. Doesn't import it."""
    runtime = RUNTIMES[name]
    if importlib.util.find_spec(runtime.module) is None:
        return False
    return device == "cpu" or any(_distribution(d) is not None for d in runtime.gpu_distributions)


def _runtime(config: EngineConfig) -> tuple[str, str, str]:
    """Name, device (cpu or gpu) and the reason."""
    if config.device not in {"auto", "cpu", "gpu"}:
        raise UsageError(f"engine.device is {config.device!r}", "Choose auto, cpu or gpu.")
    if config.name == "fake":  # on a GPU, too, that is only declared to Ray, so that scheduling can be tested
        return "fake", "gpu" if config.device == "gpu" else "cpu", "engine.name says so"
    if config.device == "gpu" and not gpu.visible():
        raise UsageError(
            "engine.device is gpu, but no NVIDIA GPU is visible here",
            "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES in the worker, or set engine.device=cpu.",
        )
    named = None if config.name == "auto" else config.name
    if config.device != "cpu" and gpu.visible():
        able = [name for name in AUTO["gpu"] if named in {None, name} and installed(name, "gpu")]
        if able:
            return able[0], "gpu", "engine.name says so" if named else "a GPU is visible and this runtime can use it"
        if config.device == "gpu":
            wanted = named or AUTO["gpu"][0]
            if "gpu" not in RUNTIMES[wanted].precisions:
                raise UsageError(f"the engine {wanted} runs on CPUs only", "Set engine.name=auto or engine.device=cpu.")
            runtime = RUNTIMES[wanted]
            raise MissingExtraError(runtime.gpu_distributions[0], runtime.gpu_extra, f"The engine {wanted} on a GPU")
    if named:
        if not installed(named):
            runtime = RUNTIMES[named]
            raise MissingExtraError(runtime.distributions[-1], runtime.extra, f"The engine {named}")
        return named, "cpu", "engine.name says so"
    for place, name in enumerate(AUTO["cpu"]):
        if installed(name):
            absent = " and ".join(AUTO["cpu"][:place])
            why = (
                f"{absent} {'is' if place == 1 else 'are'} not installed"
                if absent
                else "the fastest engine on CPUs is installed"
            )
            return name, "cpu", why
    raise MissingExtraError("openvino", "cpu", "Reading on a CPU")


def _precision(asked: str, name: str, device: str, isa: str) -> str:
    possible = RUNTIMES[name].precisions[device]
    native = cpu.computes_bf16(isa)
    if asked == "auto":
        return "bf16" if name == "openvino" and native else "fp32"
    if asked not in possible:
        raise UsageError(
            f"the engine {name} on the {device.upper()} doesn't compute in {asked}",
            f"Set engine.precision to auto or {' or '.join(possible)}.",
        )
    if asked == "bf16" and not native and name != "fake":
        raise UsageError(
            f"engine.precision is bf16, which this CPU ({isa}) only emulates: ten times slower, and with other bits",
            "Set engine.precision to auto or fp32.",
        )
    return asked


def _check_cap(name: str, isa: str) -> None:
    """Only OpenVINO is known to keep a cap, but not the lowest; one at the machine's own level needs no keeping."""
    if isa == cpu.level() or name == "fake" or (name == "openvino" and isa != "avx2"):
        return
    cause = "crashes when it is capped to avx2 on a CPU with AVX-512" if name == "openvino" else "can't be capped"
    raise UsageError(
        f"engine.isa_cap is {isa}, but the engine {name} {cause}",
        "Use openvino with a cap of avx512 or higher, or workers of one kind.",
    )


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _version(runtime: Runtime) -> str:
    found: list[Any] = [f"{name} {v}" for name in runtime.distributions if (v := _distribution(name)) is not None]
    return found[0].split(" ", 1)[1] if found else "unknown"
