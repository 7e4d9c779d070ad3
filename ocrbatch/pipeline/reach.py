"""Whether a Ray cluster answers at its address, asked so that a signal can interrupt it."""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
from typing import Final

ANSWER_SECONDS: Final = 5.0
"""Longest wait for the connection, and for the answer. A head node takes milliseconds."""
_ADDRESS: Final = re.compile(r"(?:ray://)?(?:\[([0-9a-fA-F:.%]+)\]|([^\s/:,@?\[\]]+)):(\d+)")
# Ray speaks gRPC, which is HTTP/2: a client begins with these bytes and its SETTINGS, a server with its SETTINGS.
_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEAD: Final = 9  # bytes of a frame before its content
_KIND: Final = 3  # where its kind stands in that
_SETTINGS: Final = 4  # the kind


def reach(address: str) -> None:
    """Raises OSError or ValueError where no Ray answers at `host:port` or `ray://host:port`; leaves the rest to Ray.

    A thread asks: looking up a name can't be interrupted, waiting for the thread can.
    """
    found = _ADDRESS.fullmatch(address)
    if not found:
        return
    host, port = found[1] or found[2], int(found[3])
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            _greet(host, port)
        except BaseException as error:  # noqa: BLE001  # handed over, and raised in the main thread
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=ask, name="reach", daemon=True).start()
    if error := answers.get():
        raise error


def _greet(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
        try:
            connection.sendall(_GREETING)
            with connection.makefile("rb") as answer:
                head = answer.read(_HEAD)
        except TimeoutError:
            raise OSError(f"what listens there gave no answer within {ANSWER_SECONDS:g} s") from None
        except ConnectionError:
            head = b""
    if _encrypted():
        return  # what it says to bytes in the clear is its own affair
    if len(head) < _HEAD or head[_KIND] != _SETTINGS:
        raise OSError("what listens there is no Ray")


def _encrypted() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
