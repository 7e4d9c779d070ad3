"""What a run would do: the inputs set against the output's log. Writes nothing, starts no Ray."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.engines.registry import choose
from ocrbatch.pipeline.prepare import Inputs, check, settled
from ocrbatch.sinks.commit import read_ledger
from ocrbatch.sources.selection import Tally, select
from ocrbatch.stages.identity import resolve_fingerprint
from ocrbatch.storage import Storage


@dataclass(slots=True)
class Preview:
    """Counts of documents. names: how many of those that are left have each file ending. bytes: of those whose size is
    known.
    """

    output: str
    fingerprint: str
    listed: int = 0
    left: int = 0
    complete: int = 0
    failed: int = 0
    ignored: int = 0
    pages_held: int = 0
    open_failures: int = 0
    bytes: int = 0
    retries: int = 0
    names: dict[str, int] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in Counter(self.names).most_common(8))
        lines = [
            f"Documents    {self.listed} listed",
            f"  done       {self.complete} ({self.pages_held} pages held)",
            f"  failed     {self.failed} that no run tries again as they are ({self.open_failures} open failures)",
            f"  ignored    {self.ignored} that an earlier run found to be no documents",
            f"  left       {self.left}, {self.bytes / 1e6:,.2f} MB{f': {kinds}' if kinds else ''}",
        ]
        if self.retries:
            lines.append(f"  of these   {self.retries} are tried again")
        lines.append(f"Fingerprint  {self.fingerprint}")
        return "\n".join(lines)


def preview(config: JobConfig) -> Preview:
    """Raises UsageError for a config that a run would refuse, too."""
    check(config)
    config = settled(config, choose(config.engine))
    output = Storage(config.output.storage)
    ledger = read_ledger(output, config.output.uri)
    found = Preview(config.output.uri, resolve_fingerprint(config))
    tally, names = Tally(), Counter[str]()
    inputs = Inputs(config, Storage(config.input.storage))
    wanted = parse_pages(config.documents.pages).expected
    for work in select(inputs.documents(), ledger, config.pipeline.attempts, tally, wanted):
        found.bytes += work.document.size or 0
        found.retries += work.attempt > 1
        stem, dot, ending = work.document.uri.rpartition("/")[2].rpartition(".")
        names[ending.lower() if dot and stem else "no ending"] += 1
    found.listed, found.left, found.complete = tally.listed, tally.left, tally.complete
    found.failed, found.ignored, found.open_failures = tally.failed, tally.ignored, tally.open_failures
    found.pages_held, found.names = tally.pages_held, dict(names)
    return found
