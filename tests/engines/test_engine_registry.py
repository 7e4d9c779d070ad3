"""Which engine is chosen, why, and what identifies it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ocrbatch.config import EngineConfig
from ocrbatch.engines import cpu, fake, gpu, registry
from ocrbatch.engines.base import Weights
from ocrbatch.engines.registry import choose, identity, load
from ocrbatch.errors import MissingExtraError, ModelError, UsageError


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """A machine of the test's own: which runtimes are installed, for which device."""
    found: dict[str, set[str]] = {"cpu": {"openvino", "onnxruntime", "paddle", "fake"}, "gpu": set()}
    monkeypatch.setattr(registry, "installed", lambda name, device="cpu": name in found[device])
    monkeypatch.setattr(gpu, "_names", lambda: ("NVIDIA H200",) if found["gpu"] else ())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cpu, "level", lambda: "avx512_bf16")
    return found


@pytest.mark.parametrize(
    ("on_cpu", "on_gpu", "expected"),
    [
        ({"openvino", "onnxruntime", "paddle"}, set(), ("openvino", "cpu", "bf16")),
        ({"onnxruntime", "paddle"}, set(), ("onnxruntime", "cpu", "fp32")),
        ({"paddle"}, set(), ("paddle", "cpu", "fp32")),
        ({"openvino", "onnxruntime"}, {"onnxruntime"}, ("onnxruntime", "gpu", "fp32")),
        ({"openvino", "paddle"}, {"paddle"}, ("paddle", "gpu", "fp32")),
    ],
)
def test_auto_takes_the_best_that_is_installed(
    here: dict[str, set[str]], on_cpu: set[str], on_gpu: set[str], expected: tuple[str, str, str]
) -> None:
    here.update(cpu=on_cpu, gpu=on_gpu)
    found = choose(EngineConfig())
    assert (found.name, found.options.device, found.options.precision) == expected
    assert found.why.startswith(f"{expected[0]} on the {expected[1].upper()} in {expected[2]}: ")
    assert found.why.endswith(".")


def test_auto_without_any_engine_names_the_pip_command(here: dict[str, set[str]]) -> None:
    here["cpu"] = {"fake"}
    with pytest.raises(MissingExtraError) as caught:
        choose(EngineConfig())
    assert caught.value.remedy == "pip install -e '.[cpu]' in ocrbatch's own folder"


@pytest.mark.parametrize(
    ("name", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime"), ("paddle", "paddle")]
)
def test_a_named_engine_that_is_absent_names_its_extra(here: dict[str, set[str]], name: str, extra: str) -> None:
    here["cpu"] = set()
    with pytest.raises(MissingExtraError) as caught:
        choose(EngineConfig.model_validate({"name": name}))
    assert caught.value.remedy == f"pip install -e '.[{extra}]' in ocrbatch's own folder"


def test_a_gpu_that_is_hidden_or_unwanted_is_not_used(
    here: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    here["gpu"] = {"onnxruntime"}
    assert choose(EngineConfig(device="cpu")).options.device == "cpu"
    assert choose(EngineConfig(name="openvino")).options.device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose(EngineConfig()).name == "openvino"
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        choose(EngineConfig(device="gpu"))


def test_a_gpu_without_a_runtime_for_it_names_the_extra(here: dict[str, set[str]]) -> None:
    here["gpu"] = {"something else"}
    with pytest.raises(MissingExtraError) as caught:
        choose(EngineConfig(device="gpu"))
    assert "[gpu]" in caught.value.remedy
    with pytest.raises(MissingExtraError) as caught:
        choose(EngineConfig(device="gpu", name="paddle"))
    assert "[paddle-gpu]" in caught.value.remedy
    with pytest.raises(UsageError, match="CPUs only"):
        choose(EngineConfig(device="gpu", name="openvino"))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("level", "asked", "expected"),
    [
        ("avx512_bf16", {}, "bf16"),
        ("amx", {}, "bf16"),
        ("avx512_vnni", {}, "fp32"),
        ("aarch64", {}, "fp32"),
        ("amx", {"isa_cap": "avx512"}, "fp32"),
        ("amx", {"precision": "fp32"}, "fp32"),
        ("amx", {"name": "onnxruntime"}, "fp32"),
    ],
)
def test_auto_precision_is_bf16_only_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, level: str, asked: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(cpu, "level", lambda: level)
    assert choose(EngineConfig.model_validate(asked)).options.precision == expected


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        ({"precision": "fp16"}, "doesn't compute in fp16"),
        ({"name": "onnxruntime", "precision": "bf16"}, "doesn't compute in bf16"),
        ({"precision": "bf16", "isa_cap": "avx512"}, "only emulates"),
        ({"isa_cap": "avx2"}, "crashes"),
        ({"isa_cap": "avx512", "name": "onnxruntime"}, "can't be capped"),
        ({"isa_cap": "amx"}, "has only avx512_bf16"),
        ({"isa_cap": "mmx"}, "isa_cap is 'mmx'"),
        ({"device": "tpu"}, "'tpu'"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_with_a_remedy(asked: dict[str, str], cause: str) -> None:
    with pytest.raises(UsageError, match=cause) as caught:
        choose(EngineConfig.model_validate(asked))
    assert caught.value.remedy


@pytest.mark.usefixtures("here")
def test_threads_are_the_configs_else_the_workers_else_all() -> None:
    assert choose(EngineConfig(threads=3), threads=2).options.threads == 3
    assert choose(EngineConfig(), threads=2).options.threads == 2
    assert choose(EngineConfig()).options.threads == cpu.usable_threads() >= 1


def test_identity_holds_what_can_change_bits_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "level", lambda: "avx512_bf16")
    config = {"name": "openvino", "device": "cpu"}

    def of(**changes: object) -> dict[str, str]:
        return identity(choose(EngineConfig.model_validate(config | changes)))

    pytest.importorskip("openvino")
    base = of()
    assert base["engine"].startswith("openvino 20")
    assert (base["precision"], base["isa"], base["device"]) == ("bf16", "avx512_bf16", "cpu")
    assert of(threads=7) == of(memory_mb=3) == of(options={"CACHE_DIR": "/x"}) == base
    changed = [of(precision="fp32"), of(isa_cap="avx512"), of(options={"ENABLE_HYPER_THREADING": False})]
    assert all(found != base for found in changed)
    json.dumps(changed)


def test_on_a_gpu_the_libraries_that_choose_kernels_are_told(
    here: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"onnxruntime-gpu": "1.31.1", "nvidia-cudnn-cu13": "9.20.0"}
    monkeypatch.setattr(registry, "_distribution", installed.get)
    here["gpu"] = {"onnxruntime"}
    found = identity(choose(EngineConfig()))
    assert found == {
        "engine": "onnxruntime 1.31.1",
        "precision": "fp32",
        "device": "NVIDIA H200",
        "libraries": "nvidia-cudnn-cu13 9.20.0",
    }
    installed["nvidia-cudnn-cu13"] = "9.21.0"
    assert identity(choose(EngineConfig())) != found
    assert "libraries" not in identity(choose(EngineConfig(device="cpu", name="onnxruntime")))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_choosing_and_identifying_import_no_runtime(name: str) -> None:
    pytest.importorskip(name)
    code = (
        "import sys; from ocrbatch.config import EngineConfig; from ocrbatch.engines.registry import choose, identity;"
        f"identity(choose(EngineConfig(name={name!r})));"
        "print([m for m in ('openvino', 'onnxruntime', 'paddle') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_weights_of_another_format_are_refused_with_the_engine_that_reads_them() -> None:
    pytest.importorskip("onnxruntime")
    weights = Weights("x_det", "map", "paddle", "/nowhere", "0" * 64, (0.5,) * 3, (0.5,) * 3, 1.0)
    with pytest.raises(ModelError, match="onnxruntime doesn't read paddle") as caught:
        load(choose(EngineConfig(name="onnxruntime", device="cpu")), weights)
    assert "paddle" in caught.value.remedy


@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
def test_the_fake_engine_loads_without_files_and_without_the_gpu_that_it_is_said_to_have(device: str) -> None:
    choice = choose(EngineConfig(name="fake", device=device))
    assert load(choice, fake.weights("map"))
    assert choice.options.device == identity(choice)["device"] == ("gpu" if device == "gpu" else "cpu")


def test_each_device_has_its_engine(here: dict[str, set[str]]) -> None:
    for name, runtime in registry.RUNTIMES.items():
        assert runtime.engines.keys() == runtime.precisions.keys(), name
    here["gpu"] = {"paddle"}
    choice = choose(EngineConfig(name="paddle"))
    assert choice.options.device == "gpu"
    assert registry.RUNTIMES[choice.name].engines[choice.options.device] == "paddle_gpu:PaddleGpuEngine"


def test_a_gpu_is_named_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "0000:01:00.0"
    folder.mkdir()
    (folder / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    monkeypatch.setattr(gpu, "DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu._names.cache_clear()
    try:
        assert gpu.visible()
        assert gpu.name() == "NVIDIA H200"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        assert not gpu.visible()
    finally:
        gpu._names.cache_clear()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse sse2", "sse"),
        ("sse avx avx2", "avx2"),
        ("avx2 avx512f avx512bw", "avx512"),
        ("avx2 avx512bw avx512_vnni", "avx512_vnni"),
        ("avx2 avx512bw avx512_vnni avx512_bf16", "avx512_bf16"),
        ("avx2 avx512bw avx512_vnni avx512_bf16 amx_bf16 amx_tile", "amx"),
    ],
)
def test_the_level_is_the_highest_flag(flags: str, expected: str) -> None:
    assert cpu.level_of(set(flags.split())) == expected
