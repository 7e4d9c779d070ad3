"""What a seed does to a run. Pure: the same seed, the same storm."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

KILLS: Final = ("driver", "worker", "actor", "decoder", "node")
OTHERS: Final = ("pause", "storage")
KILLS_A_STORM: Final = 3
RARER: Final = (1, 2, 2, 2, 1)  # weights of KILLS beside a storm's first: after a driver or a node much starts anew
FAKE_SEEDS: Final = 40
SEEDS: Final = 48  # the last eight with the real engine
FIRST, LAST = 0.1, 0.55  # shares of the pages that are committed at the first and the last blow


@dataclass(frozen=True, slots=True)
class Blow:
    """What is done, once this share of all pages is committed. what: one of KILLS or OTHERS."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's place (`disk`, `s3`), its engine, its layout and what befalls it, in order."""

    seed: int
    place: str
    engine: str
    layout: str
    blows: tuple[Blow, ...]

    @property
    def kills(self) -> int:
        """How many of the blows kill a process."""
        return sum(blow.what in KILLS for blow in self.blows)


def plan(seed: int) -> Plan:
    """The storm of a seed, 0 to SEEDS - 1: three kills, the first of them of each kind in turn, and another blow.

    Even seeds write to a disk, where storage does not fail for a moment.
    """
    drawn = random.Random(seed)
    kills = [KILLS[seed % len(KILLS)], *drawn.choices(KILLS, RARER, k=KILLS_A_STORM - 1)]
    kinds = [*kills, "pause" if seed % 2 == 0 else drawn.choice(OTHERS)]
    drawn.shuffle(kinds)
    step = (LAST - FIRST) / (len(kinds) - 1)
    blows = tuple(Blow(FIRST + step * (number + drawn.uniform(-0.3, 0.3)), what) for number, what in enumerate(kinds))
    engine = "fake" if seed < FAKE_SEEDS else "auto"
    return Plan(seed, ("disk", "s3")[seed % 2], engine, ("fused", "split")[seed // 2 % 2], blows)
