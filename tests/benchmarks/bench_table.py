"""What a benchmark's laps add up to: medians, ratios to one contestant, and a table of them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Figures = dict[str, float | None]

# Key of a figure, its heading, how it and its ratio are written.
COLUMNS = (
    ("pages_per_second", "pages/s", ".2f", ".2f"),
    ("cpu_seconds_per_page", "CPU s/page", ".2f", ".2f"),
    ("peak_mib", "peak MiB", ",.0f", ".2f"),
    ("word_f1", "word F1", ".2%", ".3f"),
    ("lines", "lines", ",.0f", ".3f"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a contestant did. failure: why it has no figures, else empty. remark: its weights and versions."""

    name: str
    median: Figures
    ratio: Figures
    failure: str = ""
    remark: str = ""


def medians(laps: Sequence[Figures]) -> Figures:
    """Each figure's median over the rounds; None where a lap has none."""
    return {key: _median([lap.get(key) for lap in laps]) for key, *_ in COLUMNS}


def ratios(laps: Sequence[Figures], ours: Sequence[Figures]) -> Figures:
    """Each figure over ours of the same round, the median over the rounds: a machine that slows down slows both."""
    pairs = zip(laps, ours, strict=False)
    return medians([{key: _over(lap.get(key), base.get(key)) for key, *_ in COLUMNS} for lap, base in pairs])


def table(standings: Sequence[Standing]) -> str:
    """A row for each, every figure with its ratio, or why there is none; below it the remarks."""
    names = max(len(standing.name) for standing in standings)
    rows = [("", [heading for _, heading, *_ in COLUMNS])]
    rows += [(standing.name, _cells(standing)) for standing in standings if not standing.failure]
    widths = [max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    lines = [
        f"{name:<{names}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in rows
    ]
    lines += [f"{standing.name:<{names}}  {standing.failure}" for standing in standings if standing.failure]
    lines += ["", *(f"{standing.name:<{names}}  {standing.remark}" for standing in standings if standing.remark)]
    return "\n".join(line.rstrip() for line in lines)


def _cells(standing: Standing) -> list[str]:
    return [
        f"{_written(standing.median.get(key), form)} {_written(standing.ratio.get(key), ratio_form, 'x'):>6}"
        for key, _, form, ratio_form in COLUMNS
    ]


def _written(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known and len(known) == len(values) else None
