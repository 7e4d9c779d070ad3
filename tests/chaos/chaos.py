"""Storms by seeds: `python tests/chaos/chaos.py` (`make chaos`), and what each left.

Each seed kills and stops parts of the job at moments of its own, starts it again until it is done, and has an
independent checker look at the output. Seeds that stand in --state, for the same code and with nothing wrong, are not
run again: what was cut off goes on where it was. Exit code 1 where any seed left anything wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # servers, and waiting for them

from grounds import Grounds  # noqa: E402
from plan import SEEDS, plan  # noqa: E402
from storm import Outcome  # noqa: E402

PAGES = {"fake": 2000, "auto": 200}
COLUMNS = {"seed": 4, "place": 5, "engine": 6, "layout": 6, "kills": 5, "runs": 4, "commits": 7, "left": 5, "read": 5,
           "listings": 8, "seconds": 7}  # fmt: skip


def code() -> str:
    """A hash of all that a result depends on: the package and the storms themselves."""
    sources = sorted(path for folder in (HERE, HERE.parents[1] / "ocrbatch") for path in folder.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def seeds(given: str) -> list[int]:
    """`0-3,7` as numbers."""
    ends = [item.partition("-") for item in given.split(",")]
    return [seed for first, _, last in ends for seed in range(int(first), int(last or first) + 1)]


def row(values: dict[str, Any], verdict: str) -> str:
    """One line of the table."""
    return "  ".join([*(f"{values[name]:>{width}}" for name, width in COLUMNS.items()), verdict])


def described(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON values."""
    tree = asdict(outcome)
    plan = tree.pop("plan")
    seen = {"runs": len(outcome.runs), "exits": outcome.runs, "listings": outcome.reader["listings"]}
    return {**plan, **tree, **seen, "faults": outcome.faults}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds, default=list(range(SEEDS)), metavar="0-3,7")
    parser.add_argument("--state", type=Path, default=Path("build/chaos.jsonl"), help="where results are kept")
    arguments = parser.parse_args()
    arguments.state.parent.mkdir(parents=True, exist_ok=True)
    arguments.state.touch()
    version = code()
    lines = map(json.loads, arguments.state.read_text().splitlines())
    known = {line["seed"]: line for line in lines if line["code"] == version and not line["faults"]}
    print(row({name: name for name in COLUMNS}, "what is wrong"))
    work = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ExitStack() as started:
        grounds = None
        for seed in arguments.seeds:
            if seed not in known:
                grounds = grounds or started.enter_context(closing(Grounds(work, PAGES)))
                known[seed] = {"code": version, **described(grounds.storm(plan(seed)))}
                with arguments.state.open("a") as state:
                    state.write(json.dumps(known[seed]) + "\n")
            print(row(known[seed], "; ".join(known[seed]["faults"]) or "nothing"), flush=True)
    results = [known[seed] for seed in arguments.seeds]
    bad = [result["seed"] for result in results if result["faults"]]
    struck = Counter(what.partition(":")[0] for result in results for what in result["struck"])
    total = Counter(
        {name: sum(result[name] for result in results) for name in ("planned", "read", "listings", "seconds")}
    )
    print(
        f"{len(results) - len(bad)} of {len(results)} seeds whole in {total['seconds'] / 60:.0f} minutes: "
        f"{total['planned']} pages planned, {total['read']} read, {total['listings']} listings by the plain reader; "
        f"struck: {', '.join(f'{what} {count}' for what, count in struck.most_common())}"
    )
    if bad:
        print(f"outputs and what the commands said: {work}; again: --seeds {','.join(map(str, bad))}")
    else:
        shutil.rmtree(work)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
