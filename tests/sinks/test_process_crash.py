"""A process is killed, or stopped and replaced and woken, at its n-th mutating storage call, before and after it.

The checker reads with pyarrow alone and knows the list of pages: nothing of ours stands between it and the files.
"""

from __future__ import annotations

import io
import json
import random
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from servers import S3Server
from sinks_model import WANTED
from small_run import Stop, exit_code, run, start, wait_stopped

from ocrbatch.config import StorageConfig

SEED = 20261121
EXPIRY = 0.5  # of a stopped holder's lease, instead of a minute
pytestmark = pytest.mark.timeout(1200)

some_or_all = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])


@dataclass
class Place:
    """A folder on disk, or a prefix of a bucket; `files` reads it without our code."""

    root: str
    config: StorageConfig
    server: S3Server | None = None

    def output(self, name: object) -> str:
        return f"{self.root}/{name}"

    def files(self, output: str, folder: str) -> dict[str, bytes]:
        """Every file below a folder of the output, but temporary ones of interrupted writes."""
        return {name: body for name, body in self._files(f"{output}/{folder}/") if not name.endswith(".tmp")}

    def _files(self, folder: str) -> Iterable[tuple[str, bytes]]:
        if self.server is None:
            return ((str(path), path.read_bytes()) for path in sorted(Path(folder).rglob("*")) if path.is_file())
        bucket, _, prefix = folder.removeprefix("s3://").partition("/")
        return self.server.objects(bucket, prefix).items()


@pytest.fixture
def disk(tmp_path: Path) -> Place:
    return Place(str(tmp_path), StorageConfig())


@pytest.fixture
def s3(seaweed: S3Server) -> Place:
    return Place(f"s3://{seaweed.bucket()}", seaweed.config(), seaweed)


def rows(place: Place, output: str, kind: str) -> list[dict]:  # type: ignore[type-arg]
    files = place.files(output, kind).values()
    return [row for body in files for row in pq.read_table(io.BytesIO(body)).to_pylist()]


def seen(place: Place, output: str) -> list[tuple[str, str, int]]:
    """What a plain reader sees now, none of it twice."""
    keys = sorted((row["uri"], row["etag"], row["page_index"]) for row in rows(place, output, "pages"))
    assert len(keys) == len(set(keys))
    return keys


def check(place: Place, output: str) -> None:
    """Each page once and as it was written, the failure once, nothing left in staging."""
    pages = sorted(rows(place, output, "pages"), key=lambda row: (row["uri"], row["page_index"]))
    assert [(row["uri"], row["etag"], row["page_index"]) for row in pages] == WANTED
    for row in pages:
        text = f"{row['uri']} {row['page_index']}"
        assert (row["text"], row["texts"], row["boxes"], row["page_count"]) == (text, [text], [[0, 0, 9, 5]], 3)
    assert [(row["uri"], row["page_index"], row["attempt"]) for row in rows(place, output, "failures")] == [("b", 2, 1)]
    assert place.files(output, "_ocrbatch/staging") == {}
    assert list(place.files(output, "_ocrbatch/lease")) == []


def log(place: Place, output: str) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(body) for _, body in sorted(place.files(output, "_ocrbatch/log").items())]


def moments(place: Place, count: int | None, kind: str = "call") -> list[Stop]:
    """Each step of an undisturbed run, before and after; or so many of them by a seed."""
    steps = run(place.config, place.output("counted"), "counted") if kind == "call" else 400
    whens = (False, True) if kind == "call" else (False,)
    every = [Stop(n, signal.SIGKILL, after, kind) for n in range(steps) for after in whens]
    return every if count is None else sorted(random.Random(SEED).sample(every, count), key=lambda stop: stop.n)


def kill_at(place: Place, stop: Stop) -> bool:
    """Kills a run there and lets another end it; False where it has no such step."""
    output = place.output(f"{stop.kind}-{stop.n}-{stop.after}")
    code = exit_code(start(place.config, output, "killed", stop))
    seen(place, output)
    before = place.files(output, "pages")
    assert exit_code(start(place.config, output, "rerun")) == 0
    check(place, output)
    assert before.items() <= place.files(output, "pages").items(), "a published part never changes"
    assert code in (0, -signal.SIGKILL)
    return code != 0


def pause_at(place: Place, stop: Stop) -> None:
    """Stops a run there, lets another take over and end, and wakes the first."""
    output = place.output(f"{stop.kind}-{stop.n}-{stop.after}")
    first = start(place.config, output, "first", Stop(stop.n, signal.SIGSTOP, stop.after), EXPIRY)
    try:
        assert wait_stopped(first)
        kinds = [record["type"] for record in log(place, output)]
        assert exit_code(start(place.config, output, "second", expiry=EXPIRY)) == 0
        assert seen(place, output) == WANTED
        records, parts = log(place, output), place.files(output, "pages")
    finally:
        psutil.Process(first.pid).send_signal(signal.SIGCONT)
    code = exit_code(first)
    now = log(place, output)
    assert now[: len(records)] == records
    assert place.files(output, "pages") == parts
    if "open" in kinds:  # it had the output: then it meets the other's OPEN, unless it was through with its work
        assert now == records
        assert code == (0 if "close" in kinds else 4)
    else:  # it had not begun: it finds its lease gone, or begins after the other's end with nothing left to do
        assert ([record["type"] for record in now[len(records) :]], code) in (([], 4), (["open", "close"], 0))
    assert exit_code(start(place.config, output, "third")) == 0
    check(place, output)


@some_or_all
def test_killed_at_each_call(every: bool, disk: Place) -> None:
    stops = moments(disk, None if every else 8)
    for stop in stops:
        assert kill_at(disk, stop)
    assert not every or len(stops) >= 60


@some_or_all
def test_killed_at_each_system_call(every: bool, disk: Place) -> None:
    """Temporary files that were never named, folders without files, names of which the first is still there."""
    stops = moments(disk, None, "system")
    kills = 0
    for stop in stops if every else random.Random(SEED).sample(stops[:80], 6):
        if not kill_at(disk, stop):
            break
        kills += 1
    assert kills >= (80 if every else 6)


@some_or_all
def test_stopped_at_each_call_replaced_and_woken(every: bool, disk: Place) -> None:
    for stop in moments(disk, None if every else 5):
        pause_at(disk, stop)


@pytest.mark.s3
@some_or_all
def test_killed_or_stopped_on_s3(every: bool, s3: Place) -> None:
    stops = moments(s3, 20 if every else 3)
    for stop in stops[::2]:
        assert kill_at(s3, stop)
    for stop in stops[1::2]:
        pause_at(s3, stop)
