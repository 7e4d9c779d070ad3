"""`ocrbatch models list|pull|verify`."""

from __future__ import annotations

import argparse

from ocrbatch.cli.options import print_json
from ocrbatch.cli.streams import tell
from ocrbatch.errors import OcrBatchError, UsageError, install


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument("action", choices=("list", "pull", "verify"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="official names, for example PP-OCRv6_small_det")


def execute(arguments: argparse.Namespace) -> int:
    """Does one of the three; verify gives 2 where a file isn't what the registry names, or nothing could be checked."""
    from ocrbatch.models.registry import catalogue, pull, verify
    from ocrbatch.storage.uris import redact_text

    if arguments.action == "list":
        return _list(arguments)
    if arguments.action == "pull" and not arguments.names:
        raise UsageError("there is no model to pull", "`ocrbatch models list` shows their names.")
    names = arguments.names or [entry.name for entry in catalogue() if _where(entry.name) == "here"]
    if not names:
        raise UsageError("there are no weights here to check", f"{install('models')}, or `ocrbatch models pull NAME`.")
    results: dict[str, str | list[str]] = {}
    failed = False
    for name in names:
        try:
            results[name] = str(pull(name)) if arguments.action == "pull" else [str(path) for path in verify(name)]
        except OcrBatchError as error:
            failed = True
            results[name] = redact_text(f"{error} -> {error.remedy}")
        if results[name] == []:
            failed = True
            results[name] = "not pinned: it comes from the hub as it is there, with nothing to check it against"
    if arguments.json:
        print_json(results)
    else:
        for name, result in results.items():
            tell(f"{name:<32} {'ok: ' + ', '.join(result) if isinstance(result, list) else result}")
    return 2 if failed else 0


def _list(arguments: argparse.Namespace) -> int:
    from ocrbatch.models.registry import catalogue

    entries = [entry for entry in catalogue() if not arguments.names or entry.name in arguments.names]
    rows = [{"name": entry.name, "task": entry.task, "weights": _where(entry.name)} for entry in entries]
    if arguments.json:
        print_json(rows)
    else:
        for row in rows:
            tell(f"{row['name']:<40} {row['task']:<24} {row['weights']}")
        tell(
            "",
            "The run uses detection and recognition; no stage uses the other tasks yet. `pull NAME` fetches weights.",
        )
    return 0


def _where(name: str) -> str:
    from ocrbatch.models.carriers import located
    from ocrbatch.models.registry import default_cache, entry

    known = entry(name)
    if known.carrier is None:
        return "on the hub: ocrbatch models pull"
    if located(known, default_cache()):
        return "here"
    extra = known.carrier.extra
    return install(extra) if extra else "ocrbatch models pull"
