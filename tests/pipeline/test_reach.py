"""What listens at a cluster's address is asked whether it is a Ray, in bounded time, and can be interrupted."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ocrbatch.errors import InterruptedRunError
from ocrbatch.pipeline import reach as module
from ocrbatch.pipeline.interrupts import interruptible
from ocrbatch.pipeline.reach import reach

SETTINGS = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0])


@pytest.fixture
def listening() -> Iterator[Callable[[bytes | None], str]]:
    """The address of one that answers so; None: it accepts and says nothing."""
    servers: list[socket.socket] = []

    def serve(server: socket.socket, answer: bytes) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    def listen(answer: bytes | None) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        if answer is not None:
            threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield listen
    for server in servers:
        server.close()


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_a_ray_answers(listening, prefix):
    reach(prefix + listening(SETTINGS))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"no", b""])
def test_others_than_ray_are_told(listening, answer):
    with pytest.raises(OSError, match="no Ray"):
        reach(listening(answer))


def test_with_tls_any_answer_will_do(listening, monkeypatch):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    reach(listening(b"\x15\x03\x01\x00\x02\x02\x46"))
    reach(listening(b""))


@pytest.mark.parametrize("tls", ["0", "1"])
def test_one_that_says_nothing_is_given_up(listening, monkeypatch, tls):
    monkeypatch.setenv("RAY_USE_TLS", tls)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    with pytest.raises(OSError, match=r"no answer within 0\.2 s"):
        reach(listening(None))


def test_waiting_for_an_answer_can_be_interrupted(listening):
    started = time.monotonic()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(InterruptedRunError), interruptible():
        reach("ray://" + listening(None))
    assert time.monotonic() - started < module.ANSWER_SECONDS / 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "ray://a..b:1", "ray://127.0.0.1:1"])
def test_where_nothing_listens(address):
    with pytest.raises((OSError, ValueError)):
        reach(address)


@pytest.mark.parametrize("address", ["auto", "local", "ray://host", "host", "a:1,b:2", "other://host:1/x"])
def test_other_addresses_are_left_to_ray(address):
    reach(address)
