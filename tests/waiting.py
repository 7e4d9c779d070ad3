"""Waiting for what another process does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 180, alive: subprocess.Popen[Any] | None = None) -> Any:
    """Until the condition gives something true, which it then gives. alive: a process that has to outlast the wait."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert alive is None or alive.poll() is None, f"it ended too early: {getattr(alive, 'said', '')}"
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)
    return found
