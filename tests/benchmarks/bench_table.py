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
    """A contestant's row. failure: why it has no figures, else empty. remark: weights and versions."""

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
    return medians([{key: _over(a.get(key), b.get(key)) for key, *_ in COLUMNS} for a, b in zip(laps, ours)])


def table(standings: Sequence[Standing]) -> str:
    """The rows, aligned, each figure with its ratio; a contestant that did not run says why."""
    head = ["", *(heading for _, heading, *_ in COLUMNS), ""]
    rows = [[s.name, *([] if s.failure else _cells(s)), s.failure or s.remark] for s in standings]
    wide = [row for row in [head, *rows] if len(row) == len(head)]
    widths = [max(len(row[column]) for row in wide) for column in range(len(head))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for name, *cells, last in [head, *rows]:
        aligned = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=False)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *aligned, last]).rstrip())
    return "\n".join(lines)


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
