"""Arguments that several verbs share, and the config that they make."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ocrbatch.config import JobConfig, StorageConfig, load, named, read_file
from ocrbatch.errors import OcrBatchError, UsageError
from ocrbatch.safe_yaml import MAX_CHARACTERS
from ocrbatch.storage.uris import redact, without_user

if TYPE_CHECKING:
    from ocrbatch.pipeline.retry import Chosen


def job_arguments(parser: argparse.ArgumentParser) -> None:
    """A config and what overrides it."""
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="YAML file (see `ocrbatch config` for its keys)")
    parser.add_argument("--config", dest="config_option", metavar="CONFIG", help=argparse.SUPPRESS)
    parser.add_argument("--input", action="append", default=[], metavar="URI",
                        help="file, folder, glob, archive or s3:// prefix; may be repeated")  # fmt: skip
    parser.add_argument("--manifest", metavar="URI", help="txt, CSV, JSONL or Parquet file that lists the documents")
    parser.add_argument("--output", metavar="URI", help="folder or s3:// prefix of the dataset")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE",
                        help="any key of the config, for example documents.dpi=200; may be repeated")  # fmt: skip


def profile_argument(parser: argparse.ArgumentParser) -> None:
    """Settings of this machine, for a verb that takes `job_arguments`."""
    told = "what `ocrbatch tune` wrote: its keys count where neither CONFIG nor --set name them"
    parser.add_argument("--profile", metavar="FILE", help=told)


def job_config(arguments: argparse.Namespace) -> JobConfig:
    """The config of a verb that took `job_arguments`; flags win over the file, and the file over a profile."""
    flags = {"input.uris": arguments.input, "input.manifest": arguments.manifest, "output.uri": arguments.output}
    values = {key: value for key, value in flags.items() if value}
    profile = getattr(arguments, "profile", None)
    beneath = named(*_text(profile)) if profile else None
    text, source = _text(arguments.config or arguments.config_option)
    return load(text, arguments.overrides, source, values, beneath)


def _text(path: str | None) -> tuple[str, str]:
    """A config's text, and what to call it."""
    if path is None:
        return "", "the command line"
    return (_read(path), redact(path)) if "://" in path else (read_file(Path(path)), path)


def _read(uri: str) -> str:
    from ocrbatch.storage import Storage

    if without_user(uri) != uri:
        raise UsageError(f"the config {redact(uri)} is given with a user part", "Give credentials by the environment.")
    try:
        # The user names this host: it may be on a private network.
        storage = Storage(StorageConfig(http_hosts=(urlsplit(uri).hostname or "",)))
        return storage.read(uri, 0, MAX_CHARACTERS + 1).decode("utf8")
    except OcrBatchError as error:
        raise UsageError(f"can't read the config: {error}", error.remedy) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the config {redact(uri)} is not UTF-8", "Save it as UTF-8.") from error


def output_arguments(parser: argparse.ArgumentParser) -> None:
    """An output, and how to reach it."""
    parser.add_argument("output", metavar="OUTPUT", help="folder or s3:// prefix of the dataset")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE",
                        help="any key of the config, for example output.storage.endpoint_url=...")  # fmt: skip


def failure_arguments(parser: argparse.ArgumentParser) -> None:
    """Which open failures of an output are meant, and whether to wait for it."""
    parser.add_argument("--only", action="append", default=[], metavar="CODE",
                        help="failures with this code; may be repeated")  # fmt: skip
    parser.add_argument(
        "--uri", metavar="GLOB", help="failures of documents whose whole URI it fits, such as '*/name.pdf'"
    )
    parser.add_argument("--wait", action="store_true", help="wait for another run of the same output to end")


def chosen_failures(arguments: argparse.Namespace) -> Chosen:
    """Those of a verb that took `failure_arguments`. Raises UsageError for a code that does not exist."""
    from ocrbatch.pipeline.retry import Chosen

    chosen = Chosen(tuple(arguments.only), arguments.uri)
    chosen.check()
    return chosen


def output_config(arguments: argparse.Namespace) -> JobConfig:
    """The config of a verb that took `output_arguments`."""
    from ocrbatch.sources.listing import refuse_secrets

    refuse_secrets(arguments.output, "the output")
    return load("", arguments.overrides, "the command line", {"output.uri": arguments.output})


def print_json(tree: Any) -> None:
    """For programs: one JSON document on standard output."""
    print(json.dumps(tree, indent=2, default=str, ensure_ascii=False))
