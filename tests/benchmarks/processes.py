"""What a program and all that it starts use of the machine: looked at from outside while it runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SECONDS = 0.5
MEMORY_SHARE = 0.01  # of one CPU, for looking at memory: of a job's processes, with gigabytes, once takes 50 ms of it


@dataclass(slots=True)
class Tree:
    """A process and what came from it.

    peak_bytes: most proportional set size (shared pages count once), or resident set size on systems without it.
    cpu: seconds of each process that was ever seen, as of the last look.
    """

    peak_bytes: int = 0
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    _due: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        return sum(self.cpu.values())

    def look(self, root: psutil.Process) -> None:
        """Takes the times, and the memory as often as MEMORY_SHARE allows."""
        with suppress(psutil.NoSuchProcess):
            processes = [root, *root.children(recursive=True)]
            for process in processes:
                with suppress(psutil.Error):  # it ended meanwhile
                    times = process.cpu_times()
                    self.cpu[process.pid, process.create_time()] = times.user + times.system
            if (now := time.monotonic()) >= self._due:
                started = time.thread_time()
                self.peak_bytes = max(self.peak_bytes, sum(map(memory, processes)))
                self._due = now + (time.thread_time() - started) / MEMORY_SHARE


def memory(process: psutil.Process) -> int:
    """Bytes of one process; 0 where it has ended."""
    try:
        found = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(found, "pss", found.rss))


def job(
    inputs: Sequence[str | Path], output: Path, overrides: Sequence[str] = ()
) -> tuple[subprocess.CompletedProcess[str], Tree]:
    """`ocrbatch run --json` over these, watched; its report is what it prints."""
    command = [sys.executable, "-m", "ocrbatch.cli.main", "run", "--json", "--output", str(output)]
    command += [word for uri in inputs for word in ("--input", str(uri))]
    return watched(command + [word for each in overrides for word in ("--set", each)])


def watched(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[str], Tree]:
    """Runs a command to its end, with what it says, and looks at its tree twice a second."""
    tree = Tree()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        root = psutil.Process(process.pid)
        while True:
            tree.look(root)
            try:
                output, errors = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return subprocess.CompletedProcess(command, process.returncode, output, errors), tree
