"""The real command on storage that fails: requests that break, credentials that expire, a disk that is full."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import FAKE, PAGES, SLOW, Command, commits, log
from dataset import content, job, rows
from servers import FaultProxy, Noise, SeaweedServer
from waiting import until

from ocrbatch.cli.main import main

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.s3, pytest.mark.timeout(400)]


@pytest.fixture
def bucket(seaweed: SeaweedServer, pages: Path) -> str:
    """A bucket with the pages under `in/`."""
    name = seaweed.bucket()
    for page in pages.iterdir():
        seaweed.client().put_object(Bucket=name, Key=f"in/{page.name}", Body=page.read_bytes())
    return name


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


def ended(process: Command) -> str:
    """What a run said that has to end by itself, with exit code 5."""
    assert process.wait(timeout=120) == 5, process.said
    assert "Traceback" not in process.said
    return process.said


def downloaded(server: SeaweedServer, bucket: str, folder: Path) -> Path:
    """A copy of the output in a bucket."""
    for name, body in server.objects(bucket, "out/").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


@pytest.mark.parametrize(
    ("slow", "timeout"), [(2.5, 1), pytest.param(5.0, 20, marks=pytest.mark.slow)], ids=["given up", "waited for"]
)
def test_a_storage_that_fails_now_and_then_changes_nothing(
    slow: float,
    timeout: float,
    clean: list[dict],
    bucket: str,
    seaweed: SeaweedServer,
    proxy: FaultProxy,
    tmp_path: Path,
) -> None:
    """A tenth of the requests: 503, reset, truncated, slow, or applied and the reply lost."""
    proxy.noise = Noise(seed=3, share=0.1, seconds=slow)
    reach = seaweed.overrides(endpoint_url=proxy.endpoint, timeout=timeout)
    assert job(f"s3://{bucket}/out", f"input.uris=[s3://{bucket}/in]", *FAKE, *reach).exit_code == 0
    assert all(proxy.noise.struck.values()), proxy.noise.struck
    output = downloaded(seaweed, bucket, tmp_path)
    assert content(rows(output)) == clean
    assert not (output / "failures").exists()


@pytest.mark.slow  # a minute: `make faults`
def test_credentials_that_expire_end_the_run_and_lose_nothing(
    command: Callable[..., Command],
    clean: list[dict],
    bucket: str,
    seaweed: SeaweedServer,
    proxy: FaultProxy,
    tmp_path: Path,
) -> None:
    source, target = f"s3://{bucket}/in", f"s3://{bucket}/out"
    reach = seaweed.overrides(endpoint_url=proxy.endpoint)
    process = command(source, target, settings=[*SLOW, *reach])
    until(lambda: commits(seaweed.objects(bucket, "out/_ocrbatch/log/").values()), alive=process)
    proxy.expired = True
    said = ended(process)
    assert "the credentials have expired" in said
    assert "Renew" in said
    proxy.expired = False
    report = job(target, f"input.uris=[{source}]", *FAKE, *reach)
    assert (report.exit_code, report.open_failures) == (0, 0)
    assert report.pages < PAGES, "what was committed is not read again"
    output = downloaded(seaweed, bucket, tmp_path)
    assert content(rows(output)) == clean
    assert not (output / "failures").exists(), "no document was at fault"


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_loses_nothing(
    small_disk: Path, command: Callable[..., Command], clean: list[dict], pages: Path
) -> None:  # the disk first: it can't be unmounted before the command has ended
    output = small_disk / "out"
    process = command(pages, output)
    until(lambda: commits(log(output)), alive=process)
    with pytest.raises(OSError, match="No space left"), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    said = ended(process)
    assert "the disk or the quota is full" in said
    assert "Free space there, then run the same command again" in said
    assert main(["verify", str(output)]) == 5, "sound, but not finished"
    (small_disk / "filler").unlink()
    report = job(output, f"input.uris=[{pages}]", *FAKE)
    assert report.exit_code == 0
    assert report.pages < PAGES, "what was committed is not read again"
    assert content(rows(output)) == clean
    assert main(["verify", str(output)]) == 0
