"""The run report: what was done, skipped and failed, and what to do next; as text for people and JSON for programs."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ocrbatch.report.escaping import escaped
from ocrbatch.report.progress import duration

LABEL: Final = 14  # width of the names on the left
# The folder is opened by pyarrow: in SQL it would be a glob, in which [, * and ? of its name mean something else.
QUERY: Final = (
    'import duckdb, pyarrow.dataset as ds; pages = ds.dataset({}, partitioning="hive"); '
    'duckdb.sql("SELECT parse_filename(uri), page_index, text FROM pages LIMIT 5").show()'
)
LEAST_PHASE: Final = 0.05  # seconds that the summary tells of a phase
EXAMPLES: Final = 1  # failures of each code that the report shows


@dataclass(slots=True)
class RunReport:
    """One run. Counts of pages and failures are of this run; `open_failures` and `missing` of everything it was asked
    for.

    outcome: done, nothing_left, nothing_fits (no failure to retry), interrupted or stopped; stopped_with: the exit code
    of the last two. open_elsewhere: failures of what it was not asked for. retryable: of the failures, how many the
    same command tries again. stale: the output holds rows of another fingerprint. seconds: by phase: start (listing,
    Ray), load (until a worker has its model and a batch), read, publish. stages: see `where.StageTime`. padding_ratio:
    of the columns of pixels that the recognition model was given, the share that was no line's.
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
    retryable: int = 0
    open_failures: int = 0
    open_elsewhere: int = 0
    missing: int = 0
    stale: bool = False
    stopped_with: int = 0
    parts_published: int = 0
    fingerprint: str = ""
    models: list[str] = field(default_factory=list)
    engine: dict[str, str] = field(default_factory=dict)
    layout: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    padding_ratio: float = 0.0

    def count(self, pages: int, lines: int, blank: int, failures: tuple[dict[str, Any], ...]) -> None:
        """Adds what one write task did. failures: as `stages.write` gives them: a row's fields, and `again`."""
        self.pages += pages
        self.lines += lines
        self.blank_pages += blank
        counts = Counter(self.failures)
        for failure in failures:
            counts[failure["code"]] += 1
            if counts[failure["code"]] <= EXAMPLES:
                self.examples.append(failure)
            self.retryable += failure["again"]
        self.failures = dict(counts)

    def stand(self, own: int, total: int) -> None:
        """Sets the open failures. own: of what the run was asked for; what it listed before others wrote may be more
        than are open now. total: all that are open.
        """
        self.open_failures = min(own, total)
        self.open_elsewhere = total - self.open_failures

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        if self.stopped_with:
            return self.stopped_with
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
        rows = [*self._done(), *self._undone()]
        lines = [f"{name:<{LABEL}}{value}" for name, value in rows]
        for example in self.examples:
            page = "" if example["page_index"] is None else f" page {example['page_index'] + 1}"
            lines.append(f"  {example['code']}: {example['uri']}{page}")
            lines += [f"    {example['message']}", f"    -> {example['remedy']}"]
        lines += [f"{name:<{LABEL}}{value}" for name, value in self._next()]
        return "\n".join(map(escaped, lines))

    def _done(self) -> Iterator[tuple[str, str]]:
        if self.outcome == "nothing_fits":
            count = _count(self.open_elsewhere, "open failure")
            none = f"of {count} none that fits --only and --uri (GLOBs of whole URIs) can be read again"
            yield "Nothing done", none if self.open_elsewhere else "the output has no open failures"
            return
        if self.outcome == "nothing_left" and not self.documents_listed:
            yield "Found", "no document in the inputs; nothing was written"
            yield "", "(if there should be some: is the folder mounted, do input.include and input.exclude fit?)"
            return
        if self.outcome == "nothing_left":
            yield "Nothing left", f"{self.documents_listed} documents listed, nothing to read; nothing was written"
            return
        ignored = f", {self.documents_ignored} of them ignored: no documents, by name" if self.documents_ignored else ""
        yield (
            "Documents",
            f"{self.documents_listed} listed, {self.documents_complete} settled before, "
            f"{self.documents_read} taken up{ignored}",
        )
        blank = f", {self.blank_pages} blank" if self.blank_pages else ""
        yield "Pages", f"{self.pages} read, {self.lines} lines{blank}"
        if self.pages:
            yield "Speed", f"{self.pages_per_second:.2f} pages/s once the models were loaded"
            yield "Time", f"{duration(sum(self.seconds.values()))} in all{self._phases()}"
        for number, (name, stage) in enumerate(self.stages.items()):
            yield "Stages" if not number else "", _stage(name, stage)
        if self.padding_ratio:
            yield "Padding", f"{self.padding_ratio:.1%} of what the recognition model read"

    def _phases(self) -> str:
        """What of the whole time each phase took, where one took long enough to say so."""
        said = [f"{phase} {seconds:.1f} s" for phase, seconds in self.seconds.items() if seconds >= LEAST_PHASE]
        return f": {', '.join(said)}" if said else ""

    def _undone(self) -> Iterator[tuple[str, str]]:
        if self.failures:
            yield "Failed", ", ".join(f"{n} {code}" for code, n in sorted(self.failures.items()))
        if self.open_failures:
            yield "Open", f"{_count(self.open_failures, 'failure')}, see {self.output}/failures and `ocrbatch status`"
        if self.open_elsewhere and self.outcome != "nothing_fits":
            yield (
                "Also open",
                f"{_count(self.open_elsewhere, 'failure')} of what this run did not list, see `ocrbatch status`;",
            )
            yield "", f"of files that were deleted or excluded: `ocrbatch dismiss {self.output} --uri GLOB` ends them"
        if self.missing:
            yield "Missing", f"{_count(self.missing, 'document')} unfinished: run the same command again"
        if self.reason:
            yield "Stopped", self.reason
        if self.stale:
            yield (
                "Older rows",
                "some pages were read with other settings (see their fingerprint) and stay as they are;",
            )
            yield "", "to read them anew, write to another output"

    def _next(self) -> Iterator[tuple[str, str]]:
        if self.retryable:
            count = _count(self.retryable, "failure")
            yield "Next", f"{count} may pass: run the same command again to retry"
        if self.open_failures > self.retryable:
            yield "Next", "what no run tries again: mend or replace the files (a changed one is read anew), or"
            yield "", f"`ocrbatch retry {self.output}`, with --set KEY=VALUE where a setting is the cure"
        if self.pages or (self.outcome == "nothing_left" and self.documents_listed):
            pages = f"{self.output}/pages"
            yield "Dataset", pages
            yield "Query it", f"python -c {shlex.quote(QUERY.format(json.dumps(pages, ensure_ascii=False)))}"


def _stage(name: str, stage: dict[str, float]) -> str:
    seconds = {key: stage[key] for key in ("busy", "starved", "held_up")}
    whole = sum(seconds.values()) or 1.0
    shares = ", ".join(f"{key.replace('_', ' ')} {value / whole:.0%}" for key, value in seconds.items())
    return f"{name:<10}{shares} ({_count(int(stage['workers']), 'worker')})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
