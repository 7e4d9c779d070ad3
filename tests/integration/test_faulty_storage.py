"""The real command on storage that fails: requests that break, credentials that expire, a disk that is full."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset import content, job, rows
from servers import FaultProxy, Noise, S3Server, SeaweedServer

from ocrbatch.cli.main import main

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.s3, pytest.mark.timeout(400)]

PAGES = 60
SLOW = ["engine.name=fake", "engine.options={seconds: 0.02}", "pipeline.page_batch=2", "output.commit_seconds=0.2"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty small pages."""
    folder = tmp_path_factory.mktemp("pages")
    for number in range(PAGES):
        page = np.full((64, 400, 3), 255, np.uint8)
        page[24:40, 16 : 40 + 5 * number] = 0
        cv2.imwrite(str(folder / f"{number:02d}.png"), page)
    return folder


@pytest.fixture(scope="module")
def clean(pages: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> list[tuple]:
    """What an undisturbed run gives."""
    output = tmp_path_factory.mktemp("clean")
    assert job(output, f"input.uris=[{pages}]", *SLOW).exit_code == 0
    return content(rows(output))


@pytest.fixture
def proxy(seaweed: SeaweedServer) -> Iterator[FaultProxy]:
    proxy = FaultProxy(seaweed)
    yield proxy
    proxy.stop()


@pytest.fixture
def bucket(seaweed: SeaweedServer, pages: Path) -> str:
    """A bucket with the pages under `in/`."""
    name = seaweed.bucket()
    for page in pages.iterdir():
        seaweed.client().put_object(Bucket=name, Key=f"in/{page.name}", Body=page.read_bytes())
    return name


@pytest.fixture
def reach(seaweed: SeaweedServer, proxy: FaultProxy) -> list[str]:
    """Settings by which both sides reach the server through the proxy."""
    given = {"endpoint_url": proxy.endpoint, "key": seaweed.key, "secret": seaweed.secret, "region": seaweed.region}
    return [f"{side}.storage.{name}={value}" for side in ("input", "output") for name, value in given.items()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system can't be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def command(source: object, output: object, *settings: str) -> subprocess.Popen[str]:
    """The command, as a process of its own."""
    words = [sys.executable, "-m", "ocrbatch.cli.main", "run", "--input", str(source), "--output", str(output)]
    words += [word for item in (*SLOW, *settings) for word in ("--set", item)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    """What a run said that has to end by itself, with exit code 5."""
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 5, said
    assert "Traceback" not in said
    return said


def wait_for_commit(records: Callable[[], list[bytes]]) -> None:
    """Comes back once a commit is in the log, and most of the work is left."""
    deadline = time.monotonic() + 180
    while not any(b'"type":"add"' in record for record in records()):
        assert time.monotonic() < deadline, "it committed nothing"
        time.sleep(0.05)


def objects(server: S3Server, bucket: str, prefix: str) -> dict[str, bytes]:
    """What lies under a prefix of a bucket, fetched by another client."""
    client, found = server.client(), {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            found[item["Key"].removeprefix(prefix)] = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
    return found


def downloaded(server: S3Server, bucket: str, folder: Path) -> Path:
    """A copy of the output in a bucket."""
    for name, body in objects(server, bucket, "out/").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def test_a_storage_that_fails_now_and_then_changes_nothing(
    clean: list[tuple], bucket: str, reach: list[str], seaweed: SeaweedServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.noise = Noise(seed=3, share=0.1, seconds=2.5)
    timeouts = [f"{side}.storage.timeout=1" for side in ("input", "output")]
    process = command(f"s3://{bucket}/in", f"s3://{bucket}/out", *reach, *timeouts)
    said = process.communicate(timeout=250)[1]
    assert process.returncode == 0, said
    assert all(proxy.noise.struck.values()), proxy.noise.struck
    output = downloaded(seaweed, bucket, tmp_path)
    assert content(rows(output)) == clean
    assert not (output / "failures").exists()


@pytest.mark.slow  # a minute: `make faults`
def test_credentials_that_expire_end_the_run_and_lose_nothing(
    clean: list[tuple], bucket: str, reach: list[str], seaweed: SeaweedServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    source, target = f"s3://{bucket}/in", f"s3://{bucket}/out"
    process = command(source, target, *reach)
    wait_for_commit(lambda: list(objects(seaweed, bucket, "out/_ocrbatch/log/").values()))
    proxy.expired = True
    said = ended(process)
    assert "the credentials have expired" in said
    assert "Renew" in said
    proxy.expired = False
    report = job(target, f"input.uris=[{source}]", *SLOW, *reach)
    assert (report.exit_code, report.open_failures) == (0, 0)
    assert report.pages < PAGES, "what was committed is not read again"
    output = downloaded(seaweed, bucket, tmp_path)
    assert content(rows(output)) == clean
    assert not (output / "failures").exists(), "no document was at fault"


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_loses_nothing(clean: list[tuple], pages: Path, small_disk: Path) -> None:
    output = small_disk / "out"
    process = command(pages, output)
    log = output / "_ocrbatch" / "log"
    wait_for_commit(lambda: [path.read_bytes() for path in log.glob("*.json")])
    with pytest.raises(OSError, match="No space left"), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    said = ended(process)
    assert "the disk or the quota is full" in said
    assert "Free space there, then run the same command again" in said
    assert main(["verify", str(output)]) == 5, "sound, but not finished"
    (small_disk / "filler").unlink()
    report = job(output, f"input.uris=[{pages}]", *SLOW)
    assert report.exit_code == 0
    assert report.pages < PAGES, "what was committed is not read again"
    assert content(rows(output)) == clean
    assert main(["verify", str(output)]) == 0
