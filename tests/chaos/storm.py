"""The job under a storm: what its seed says is killed, stopped or broken while it runs; then its output is checked.

A run that is killed, or that ends with work left, is started again by the same command, until one ends by itself with
nothing left. All the while a plain reader lists and reads what is published.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blows import Nodes, strike
from checker import Content, check
from command import Command
from places import Log, Place
from plan import KILLS, Blow, Plan

OFTEN = ("output.commit_seconds=0.2", "output.target_file_mb=0.03")  # so that a reader sees parts appear all the time
SETTINGS = {
    "fake": ("engine.name=fake", *OFTEN),
    "auto": (*OFTEN, "pipeline.page_batch=4"),
}
MOST_RUNS = 12
IN_A_STORM = (0, 3, 5, -9)  # exit codes of a run: done, some pages failed, stopped early, killed
MOST_READ = 1.5  # pages read, for each that was planned
LEAST_COMMITS = 3  # before the last kill


@dataclass
class Outcome:
    """What came of a seed.

    struck: whom the blows met. runs: exit codes. commits, left: commits before the last kill, and pages that it found
    uncommitted. read: pages on which a worker worked, in all. wrong: what the checker counted. reader: what the plain
    reader saw.
    """

    plan: Plan
    planned: int
    struck: list[str] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    kills: int = 0
    commits: int = 0
    left: int = 0
    read: int = 0
    seconds: float = 0.0
    wrong: dict[str, int] = field(default_factory=dict)
    reader: dict[str, Any] = field(default_factory=dict)

    def note(self, blow: Blow, met: str, log: Log) -> None:
        """A blow has met its mark."""
        self.struck.append(f"{blow.what}: {met}")
        if blow.what in KILLS:
            self.kills += 1
            self.commits, self.left = log.commits, self.planned - log.pages

    @property
    def faults(self) -> list[str]:
        """What is not as promised; nothing where the output is whole and the storm was one."""
        seen = self.reader
        promised = {
            f"the output: {self.wrong}": not self.wrong,
            f"the runs ended with {self.runs}": self.runs[-1] == 0,
            f"{self.read} pages read for {self.planned}": self.planned <= self.read <= MOST_READ * self.planned,
            f"{len(self.struck)} of {len(self.plan.blows)} blows": len(self.struck) == len(self.plan.blows),
            f"{self.commits} commits before the last kill": self.commits >= LEAST_COMMITS,
            f"{self.left} pages left at the last kill": self.left > 0,
            f"the reader: {seen}": seen["rows"] == self.planned
            and not seen["twice"] + seen["unreadable"] + seen["gone"],
        }
        return [what for what, holds in promised.items() if not holds]


def storm(plan: Plan, place: Place, clean: Content, nodes: Nodes, work: Path) -> Outcome:
    """One seed, to its end. clean: what an undisturbed run gives. work: a folder for what the commands print."""
    outcome, log, drawn = Outcome(plan, len(clean)), Log(place), random.Random(plan.seed)
    blows = list(plan.blows)
    before, started = nodes.pages_read, time.monotonic()
    with reading(place) as outcome.reader:
        while outcome.runs[-1:] != [0] and set(outcome.runs) <= set(IN_A_STORM) and len(outcome.runs) < MOST_RUNS:
            with command(plan, place, nodes, work / f"{plan.seed}-{len(outcome.runs)}") as driver:
                while driver.poll() is None:
                    log.read_on()
                    if blows and log.pages >= blows[0].at * len(clean):
                        met = strike(blows[0].what, drawn, driver, nodes, place)
                        if met:  # else there is nobody: a worker that is starting again
                            outcome.note(blows.pop(0), met, log)
                    time.sleep(0.02)
            outcome.runs.append(driver.returncode)
    outcome.read = nodes.pages_read - before
    outcome.wrong = dict(+check(place.files, place.path, set(clean), clean))
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


@contextmanager
def command(plan: Plan, place: Place, nodes: Nodes, work: Path, more: Sequence[str] = ()) -> Iterator[Command]:
    """The job as a process; killed where it is left early. more: settings."""
    work.mkdir(parents=True)
    settings = [
        *SETTINGS[plan.engine],
        *place.settings,
        f"pipeline.address={nodes.address}",
        f"pipeline.layout={plan.layout}",
        *more,
    ]
    driver = Command(work, place.source, place.uri, settings, ())
    try:
        yield driver
    finally:
        if driver.poll() is None:
            driver.kill()
        driver.wait()


@contextmanager
def reading(place: Place) -> Iterator[dict[str, Any]]:
    """The plain reader, for the length of a `with`; afterwards what it saw."""
    line = [sys.executable, Path(__file__).with_name("plain_reader.py"), f"{place.path}/pages", *place.reader]
    seen: dict[str, Any] = {}
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        yield seen
        seen |= json.loads(reader.communicate()[0])
