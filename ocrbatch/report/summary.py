"""The run report: what was done, skipped and failed, and what to do next; as text for people and JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ocrbatch.errors import FAILURE_CODES
from ocrbatch.report.progress import duration

QUERY: Final = "SELECT uri, page_index, text FROM '{}/pages/**/*.parquet' LIMIT 5"
EXAMPLES: Final = 1  # failures of each code that the report shows


@dataclass(slots=True)
class RunReport:
    """One run. Counts of pages and failures are of this run; `open_failures` and `missing` of everything it was asked
    for.

    outcome: done, nothing_left, interrupted, stopped or failed. padding and times are for tuning, seconds by phase.
    """

    run_id: str
    output: str
    outcome: str = "done"
    reason: str = ""
    documents_listed: int = 0
    documents_complete: int = 0
    documents_ignored: int = 0
    documents_read: int = 0
    pages: int = 0
    lines: int = 0
    blank_pages: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    open_failures: int = 0
    missing: int = 0
    parts_published: int = 0
    fingerprint: str = ""
    models: list[str] = field(default_factory=list)
    engine: dict[str, str] = field(default_factory=dict)
    layout: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, pages: int, lines: int, blank: int, failures: tuple[dict[str, Any], ...]) -> None:
        """Adds what one write task did."""
        self.pages += pages
        self.lines += lines
        self.blank_pages += blank
        counts = Counter(self.failures)
        for failure in failures:
            counts[failure["code"]] += 1
            if counts[failure["code"]] <= EXAMPLES:
                self.examples.append(failure)
        self.failures = dict(counts)

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        if self.outcome in ("stopped", "interrupted"):
            return 5
        if self.missing:
            return 5
        return 3 if self.open_failures else 0

    @property
    def pages_per_second(self) -> float:
        """Pages read by this run over the seconds it worked on them."""
        seconds = self.seconds.get("read", 0.0)
        return self.pages / seconds if seconds else 0.0

    def to_json(self) -> str:
        """The report as JSON, with the derived figures."""
        tree = {**asdict(self), "exit_code": self.exit_code, "pages_per_second": round(self.pages_per_second, 3)}
        return json.dumps(tree, indent=2, default=str)

    def __str__(self) -> str:
        rows = [
            (
                "Documents",
                f"{self.documents_listed} listed, {self.documents_complete} done before, {self.documents_read} read"
                + (f", {self.documents_ignored} ignored (no documents, by name)" if self.documents_ignored else ""),
            ),
            (
                "Pages",
                f"{self.pages} read, {self.lines} lines" + (f", {self.blank_pages} blank" if self.blank_pages else ""),
            ),
        ]
        if self.outcome == "nothing_left":
            rows = [("Nothing left", f"all {self.documents_listed} documents were read before; nothing was written")]
        if self.pages:
            rows.append(
                ("Speed", f"{self.pages_per_second:.2f} pages/s, {duration(sum(self.seconds.values()))} in all")
            )
        if self.failures:
            rows.append(("Failed", ", ".join(f"{n} {code}" for code, n in sorted(self.failures.items()))))
        if self.open_failures:
            rows.append(
                (
                    "Open",
                    f"{self.open_failures} failures are open, see {self.output}/failures",
                )
            )
        if self.missing:
            rows.append(("Missing", f"{self.missing} documents are not finished: run the same command again"))
        if self.reason:
            rows.append(("Stopped", self.reason))
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        for example in self.examples:
            page = "" if example["page_index"] is None else f" page {example['page_index'] + 1}"
            lines += [
                f"  {example['code']}: {example['uri']}{page}",
                f"    {example['message']}",
                f"    -> {example['remedy']}",
            ]
        return "\n".join([*lines, *self._next()])

    def _next(self) -> list[str]:
        lines = []
        if any(FAILURE_CODES[code].retryable for code in self.failures if code in FAILURE_CODES):
            lines.append("Some failures may pass: run the same command again to retry them.")
        if self.pages or self.outcome == "nothing_left":
            lines += [
                f"Dataset     {self.output}/pages",
                f'Query it    duckdb -c "{QUERY.format(self.output)}"',
            ]
        return lines
