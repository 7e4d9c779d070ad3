"""What the CPU can compute in, read without loading any runtime.

Invariant: an instruction set is always named by one word of LEVELS, so two workers can compare theirs.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Final

from ocrbatch.errors import UsageError

# Lowest first.
LEVELS: Final = ("sse", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx")
# The flag of /proc/cpuinfo that tells a level.
_FLAGS: Final = {
    "avx2": "avx2",
    "avx512": "avx512bw",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx": "amx_bf16",
}
# What ONEDNN_MAX_CPU_ISA calls it.
ONEDNN: Final = {
    "avx2": "AVX2",
    "avx512": "AVX512_CORE",
    "avx512_vnni": "AVX512_CORE_VNNI",
    "avx512_bf16": "AVX512_CORE_BF16",
    "amx": "AVX512_CORE_AMX",
}


@cache
def level() -> str:
    """Highest of LEVELS that this machine has; another architecture's own name where it isn't x86."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return platform.machine().lower()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return LEVELS[0]
    return level_of(next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set()))


def level_of(flags: set[str]) -> str:
    """Highest of LEVELS that these flags of /proc/cpuinfo tell."""
    return next((name for name in reversed(LEVELS) if _FLAGS.get(name) in flags), LEVELS[0])


def capped(cap: str | None) -> str:
    """The level in use under a cap. Raises UsageError when the cap is no level, or is above this machine's own."""
    if cap is None:
        return level()
    if cap not in LEVELS[1:]:
        raise UsageError(f"engine.isa_cap is {cap!r}", f"Choose one of {', '.join(LEVELS[1:])}.")
    own = level()
    if own not in LEVELS or LEVELS.index(own) < LEVELS.index(cap):
        raise UsageError(
            f"engine.isa_cap is {cap}, but this machine has only {own}, so it would compute other bits",
            f"Set engine.isa_cap={own}, or keep this machine out of the job.",
        )
    return cap


def computes_bf16(isa: str) -> bool:
    """Whether bf16 is native at this level.

    OpenVINO lists BF16 among its capabilities from AVX512 on, but without the instructions it emulates them: a line of
    320 px took 64 ms instead of 6.4, and 11 in fp32 (AMD EPYC with AVX512_BF16, capped to AVX512_CORE).
    """
    return isa in {"avx512_bf16", "amx"}


def usable_threads() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
