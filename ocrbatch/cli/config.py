"""`ocrbatch config`: every key with its meaning, its default, and its value in a given config."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ocrbatch.cli.options import job_arguments, job_config, print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    job_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints the keys; secrets stay hidden."""
    config = job_config(arguments)
    if arguments.json:
        print_json(config.model_dump(mode="json"))
        return 0
    for key, value, text in _keys(config):
        print(f"{key} = {value}\n    {text}")
    return 0


def _keys(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, (field.description or "").replace("\n", " ")
