"""`ocrbatch config`: every key with its meaning, its default, and its value in a given config."""

from __future__ import annotations

import argparse
import json
from functools import reduce
from typing import Any, Final

from ocrbatch.cli.options import job_arguments, job_config, print_json, profile_argument
from ocrbatch.cli.streams import tell
from ocrbatch.config import JobConfig, keys

HIDDEN: Final = "**********"  # as pydantic writes a SecretStr


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)
    profile_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints the keys, each value as YAML takes it; secrets stay hidden."""
    tree = _without_secrets(job_config(arguments))
    if arguments.json:
        print_json(tree)
        return 0
    for key, meaning in keys():
        if meaning is not None:
            value = reduce(lambda node, name: node[name], key.split("."), tree)
            tell(f"{key} = {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
            tell(f"    {meaning}")
    return 0


def _without_secrets(config: JobConfig) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    for side in ("input", "output"):
        storage = tree[side]["storage"]
        storage["options"] = _hidden(storage["options"])
    return tree


def _hidden(value: Any) -> Any:
    # All of them: what a file system calls its secrets is its own affair (account_key, sas_token, a list of headers).
    return {name: _hidden(each) for name, each in value.items()} if isinstance(value, dict) else HIDDEN
