"""Where a storm's runs read and write: a disk, or a real S3 server behind a proxy that can break requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSystem, LocalFileSystem, S3FileSystem
from servers import FaultProxy, Noise, S3Server


@dataclass
class Place:
    """An input, an output, and how both are reached.

    uri, source: as the command takes them. path: the output as `files`, a filesystem of pyarrow's, takes it. reader:
    arguments for such a filesystem in another process.
    """

    source: str
    uri: str
    path: str
    files: FileSystem = field(default_factory=LocalFileSystem)
    settings: tuple[str, ...] = ()
    reader: tuple[str, ...] = ()
    proxy: FaultProxy | None = None

    def break_requests(self, seed: int, share: float) -> None:
        """From now on a share of all requests fail, each in any of the ways that they can."""
        if self.proxy:
            self.proxy.noise = Noise(seed, share, seconds=1.0) if share else None


def on_disk(source: Path, output: Path) -> Place:
    """Files read where they are."""
    return Place(str(source), str(output), str(output))


def on_s3(server: S3Server, proxy: FaultProxy, bucket: str, output: str) -> Place:
    """The bucket's `in/`, through the proxy; what is read to check it goes past the proxy."""
    reach: dict[str, Any] = {
        "access_key": server.key,
        "secret_key": server.secret,
        "endpoint_override": server.endpoint.removeprefix("http://"),
        "scheme": "http",
        "region": server.region,
    }
    return Place(
        f"s3://{bucket}/in",
        f"s3://{bucket}/{output}",
        f"{bucket}/{output}",
        S3FileSystem(**reach),
        tuple(server.overrides(endpoint_url=proxy.endpoint, timeout=5)),
        (json.dumps(reach),),
        proxy,
    )


class Log:
    """What an output's log says, read on from where it was read last."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._next = 0
        self.commits = 0
        self.pages = 0

    def read_on(self) -> None:
        """Counts what has been committed since."""
        while (body := self._record(self._next)) is not None:
            record = json.loads(body)
            self._next += 1
            if record["type"] == "add":
                self.commits += 1
                self.pages += sum(len(held["pages"]) for part in record["parts"] for held in part["pages"])

    def _record(self, number: int) -> bytes | None:
        try:
            with self._place.files.open_input_stream(f"{self._place.path}/_ocrbatch/log/{number:012d}.json") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None
