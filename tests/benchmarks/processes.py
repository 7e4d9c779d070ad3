"""What a program and all that it starts use of the machine: looked at from outside while it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SECONDS = 0.5


@dataclass(slots=True)
class Tree:
    """A process and what came from it.

    peak_bytes: most proportional set size (shared pages count once), or resident set size on systems without it.
    cpu: seconds of each process that was ever seen, as of the last look.
    """

    peak_bytes: int = 0
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        return sum(self.cpu.values())

    def look(self, root: psutil.Process) -> None:
        total = 0
        try:
            processes = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                memory, times = process.memory_full_info(), process.cpu_times()
                self.cpu[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue  # it ended meanwhile
            total += getattr(memory, "pss", memory.rss)
        self.peak_bytes = max(self.peak_bytes, total)


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
