"""Which NVIDIA GPU this process may use, asked of the driver's own files: no CUDA context, no runtime.

Invariant: agrees with CUDA_VISIBLE_DEVICES, by which Ray hands out GPUs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

DRIVER: Final = Path("/proc/driver/nvidia/gpus")


def visible() -> bool:
    """Whether a GPU is there and not hidden by CUDA_VISIBLE_DEVICES."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None and allowed.strip() in {"", "-1"}:
        return False
    return bool(_names())


def name() -> str:
    """Model name of the first GPU, such as `NVIDIA H200`; empty without one."""
    names = _names()
    return names[0] if names else ""


@cache
def _names() -> tuple[str, ...]:
    """Model names from the driver's files; in containers that hide them, from nvidia-smi."""
    found = []
    for path in sorted(DRIVER.glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                found.append(line.split(":", 1)[1].strip())
    if not found and (tool := shutil.which("nvidia-smi")) is not None:
        reply = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=False
        )
        found = [line.strip() for line in reply.stdout.splitlines() if line.strip()] if reply.returncode == 0 else []
    return tuple(found)
