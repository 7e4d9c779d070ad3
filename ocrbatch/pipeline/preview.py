"""What a run would do: the inputs set against the output's log. Writes nothing, starts no Ray."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from ocrbatch.config import JobConfig
from ocrbatch.documents.pages import parse_pages
from ocrbatch.pipeline.prepare import Inputs, check, check_extra, cluster_address, writable
from ocrbatch.report.escaping import escaped
from ocrbatch.sinks.columns import check_columns
from ocrbatch.sinks.commit import whole_ledger
from ocrbatch.sinks.verify import require_files
from ocrbatch.sources.selection import Tally, passing, select
from ocrbatch.stages.identity import identify
from ocrbatch.storage import Storage


@dataclass(slots=True)
class Preview:
    """Counts of what is left. names: how many of its documents have each file ending. bytes: where sizes are known."""

    output: str
    fingerprint: str | None  # None: a cluster's workers tell it
    tally: Tally = field(default_factory=Tally)
    bytes: int = 0
    retries: int = 0
    names: dict[str, int] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        tree = asdict(self)
        return {"output": tree.pop("output"), "fingerprint": tree.pop("fingerprint"), **tree.pop("tally"), **tree}

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in Counter(self.names).most_common(8))
        tally = self.tally
        lines = [
            f"Documents    {tally.listed} listed",
            f"  done       {tally.complete} ({tally.pages_held} pages held)",
            f"  failed     {tally.failed} that no run tries again as they are ({tally.open_failures} open failures)",
            f"  ignored    {tally.ignored} that an earlier run found to be no documents",
            f"  left       {tally.left}, {self.bytes / 1e6:,.2f} MB{f': {kinds}' if kinds else ''}",
        ]
        if self.retries:
            lines.append(f"  of these   {self.retries} are tried again")
        lines.append(f"Fingerprint  {self.fingerprint or 'told by the workers of the cluster when it is joined'}")
        return "\n".join(map(escaped, lines))


def preview(config: JobConfig) -> Preview:
    """Raises UsageError for a config, and OutputInconsistentError for an output, that a run would refuse, too."""
    check(config)
    identity = identify(config) if cluster_address(config.pipeline) is None else None
    output = Storage(config.output.storage)
    with writable(config.output.uri):
        ledger = whole_ledger(output, config.output.uri)
        require_files(output, config.output.uri, ledger)
    found = Preview(config.output.uri, identity.fingerprint if identity else None)
    inputs = Inputs(config, Storage(config.input.storage))
    wanted = parse_pages(config.documents.pages).expected
    documents = inputs.documents()
    check_extra(inputs.extra, config)
    check_columns(inputs.extra, ledger, output, config.output.uri)
    for work in select(documents, ledger, passing(config.pipeline.attempts), found.tally, wanted):
        found.bytes += work.document.size or 0
        found.retries += work.attempt > 1
        stem, dot, ending = work.document.uri.rpartition("/")[2].rpartition(".")
        name = ending.lower() if dot and stem else "no ending"
        found.names[name] = found.names.get(name, 0) + 1
    return found
