"""The job's config: frozen, no unknown keys, one name for a key in YAML, `--set` and code.

Under `detection` and `recognition` the names are those of PaddleX's pipeline YAML, but for `batch_pixels`.
A config follows from its text and its overrides alone. Of the environment other rooms read AWS_* and FSSPEC_* (storage,
for keys that are unset), XDG_CACHE_HOME (models), RAY_ADDRESS, and the variables that `documents.passwords` names.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from ocrbatch import safe_yaml
from ocrbatch.errors import UsageError

# Raised by hand whenever the same input would give another row; part of every fingerprint.
RESULT_VERSION: Final = 4
MEMORY_MB: Final = 1024  # of the shapes of one model that an engine has compiled
BATCH_PIXELS: Final = 4096  # of the crops in one call of the recognizer, their widths together
PAGE_PIXELS: Final = 2 << 20  # of the pages in one call of the detector on a GPU, their areas together


class Section(BaseModel):
    """Base of every part of the config."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value  # in YAML a section of which every line is commented out is a null


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    if any("@" in host or "/" in host for host in value):
        raise ValueError("give hosts alone, without scheme, user part and path")
    return value


class StorageConfig(Section):
    """How to reach one side's object storage; unset keys fall back to the usual AWS_* variables."""

    endpoint_url: str | None = None
    """Address of an S3-compatible service."""
    region: str | None = None
    """Region name."""
    role_arn: str | None = None
    """Role to assume through STS before reading or writing."""
    profile: str | None = None
    """Profile of the AWS config files."""
    key: SecretStr | None = None
    """Access key id."""
    secret: SecretStr | None = None
    """Secret access key."""
    token: SecretStr | None = None
    """Session token."""
    anon: bool = False
    """Unsigned requests, for public buckets."""
    retries: int = Field(default=5, ge=0)
    """How often a failed call is repeated, with growing pauses."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds without a byte after which a call has failed."""
    http_hosts: Annotated[tuple[str, ...], AfterValidator(_hosts)] = ()
    """Hosts that http(s) URLs in a manifest, and redirects, may lead to, as patterns (`*.example.org`). A host whose
    address is private, loopback or link-local must be listed itself, also where an input names it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further options for fsspec's file system of this scheme."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value  # one URI needs no brackets


class InputConfig(Section):
    """What to read."""

    uris: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Files, folders, globs, archives (tar, zip), Parquet files that hold the bytes; any fsspec scheme."""
    manifest: str | None = None
    """A txt, CSV, JSONL or Parquet file with a uri column; its other columns pass through to the rows."""
    uri_column: str = "uri"
    """The manifest's column that holds the URIs."""
    bytes_column: str | None = None
    """Column of Parquet inputs that holds the files' bytes; found by its type when unset."""
    include: tuple[str, ...] = ()
    """Glob patterns of which a file must match at least one."""
    exclude: tuple[str, ...] = ()
    """Glob patterns of which a file must match none."""
    storage: StorageConfig = StorageConfig()
    """Credentials and address for reading."""


def _without_last_slash(uri: str) -> str:
    short = uri.rstrip("/")
    return uri if not short or short.endswith(":") else short  # "/" and "s3://" are no separators


class OutputConfig(Section):
    """Where the dataset goes and how it is cut."""

    uri: Annotated[str, AfterValidator(_without_last_slash)] = ""
    """Folder or s3:// prefix of the dataset."""
    target_file_mb: float = Field(default=128, gt=0, allow_inf_nan=False)
    """Size at which a part is published, in MiB."""
    compression_level: int = Field(default=3, ge=1, le=22)
    """zstd level."""
    partition_by: str | None = None
    """`run_date`, or a regular expression over the URI whose named groups become hive partitions."""
    commit_seconds: float = Field(default=10.0, gt=0, le=30)
    """Longest time between a finished page and its commit."""
    storage: StorageConfig = StorageConfig()
    """Credentials and address for writing."""


class PasswordRule(Section):
    """Passwords for the PDFs whose URI matches `pattern`, from a variable or a file, never from the config."""

    pattern: str = "*"
    """Glob over the URI."""
    env: str | None = None
    """Variable that holds the password."""
    file: str | None = None
    """File whose lines are passwords to try."""

    @model_validator(mode="after")
    def _one_source(self) -> PasswordRule:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env or file")
        return self


def _page_ranges(value: Any) -> Any:
    if value is None:
        return ""
    return str(value) if type(value) is int else value  # one page needs no quotes


class DocumentsConfig(Section):
    """How documents become pages."""

    dpi: float = Field(default=144.0, gt=0, le=1200)
    """Resolution at which PDF pages are rendered; 144 is PaddleOCR's own scale of 2."""
    pages: Annotated[str, BeforeValidator(_page_ranges)] = ""
    """Pages to read, counted from 1: `1-3,7,10-`; empty for all."""
    max_pixels: int = Field(default=32_000_000, ge=1_000)
    """A PDF page that would have more pixels is rendered at a lower dpi."""
    max_image_pixels: int = Field(default=178_956_970, ge=1)
    """An image that claims more pixels is a failure; the default is Pillow's limit for decompression bombs."""
    max_bytes: int = Field(default=2 << 30, ge=1)
    """A larger file is a failure."""
    passwords: tuple[PasswordRule, ...] = ()
    """Passwords for encrypted PDFs."""
    fetch_timeout: float = Field(default=300.0, gt=0)
    """Seconds to read one object."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to open a document, or to decode one page of it."""
    memory_mb: int = Field(default=2048, ge=128)
    """Memory limit of the decoder's process, in MiB."""


class EngineConfig(Section):
    """The runtime that executes the models."""

    name: Literal["auto", "openvino", "onnxruntime", "fake", "paddle"] = "auto"
    """auto takes OpenVINO on CPUs and ONNX Runtime on GPUs, where they are installed."""
    device: str = "auto"
    """auto, cpu, or gpu."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on CPUs that compute in it (OpenVINO), else fp32."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of one engine; 0 takes what the worker was given."""
    memory_mb: int = Field(default=MEMORY_MB, ge=1)
    """OpenVINO: memory in MiB, by an estimate that is above what it takes, for the widths of lines that a worker has
    compiled its model for; beyond it the least used is dropped, and compiled again when it is needed."""
    isa_cap: str | None = None
    """Highest instruction set to use, so that a mixed cluster computes the same bits: avx512, avx512_vnni, avx512_bf16
    or amx. OpenVINO alone keeps it, and can't be held to avx2 on a CPU with AVX-512."""
    timeout: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds a page that the models may take; a worker that takes longer is ended, and its pages are read again."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further options for the runtime itself."""


class DetectionConfig(Section):
    """Text detection, with the names of PaddleX's pipeline YAML, but for `batch_pixels`."""

    model_name: str = "PP-OCRv6_small_det"
    """Official name of the weights."""
    model_dir: str | None = None
    """Folder or object-store URI with the weights; overrides where model_name would be looked for."""
    limit_side_len: int = Field(default=64, ge=1)
    """Side length that `limit_type` refers to, in pixels."""
    limit_type: Literal["min", "max"] = "min"
    """min: enlarge pages whose shorter side is below the limit; max: shrink those whose longer side is above."""
    max_side_limit: int = Field(default=4000, ge=32)
    """Longest side of a page in detection, in pixels."""
    thresh: float = Field(default=0.3, ge=0, le=1)
    """Probability above which a pixel is text."""
    box_thresh: float = Field(default=0.6, ge=0, le=1)
    """Mean probability below which a region is dropped."""
    unclip_ratio: float = Field(default=1.5, ge=0)
    """How far a region is grown."""
    batch_pixels: int = Field(default=PAGE_PIXELS, ge=1)
    """GPUs: total area of the pages of one size that go through the model together, in pixels. A call of a size always
    has room for as many pages, so that much is lost where each page has a size of its own. Part of the fingerprint on
    GPUs. On CPUs pages go one by one."""


class RecognitionConfig(Section):
    """Text recognition, with the names of PaddleX's pipeline YAML, but for `batch_pixels`."""

    model_name: str = "PP-OCRv6_small_rec"
    """Official name of the weights."""
    model_dir: str | None = None
    """Folder or object-store URI with the weights."""
    score_thresh: float = Field(default=0.0, ge=0, le=1)
    """Lines that score lower are left out; their polygons are kept in rejected_polygons."""
    batch_pixels: int = Field(default=BATCH_PIXELS, ge=64)
    """Total width of the crops that go through the model together, in pixels (PaddleX's batch_size counts crops). Part
    of the fingerprint on GPUs, which choose their kernels by it."""


class PipelineConfig(Section):
    """How the work is spread over a cluster. Nothing here can change a result."""

    address: str | None = None
    """Ray cluster to join (`auto`, or ray://host:10001); unset starts Ray on this machine, or joins the job's cluster.
    """
    layout: Literal["auto", "split", "fused"] = "auto"
    """split: detection and recognition in pools of their own; fused: one pool does both."""
    page_batch: int = Field(default=8, ge=1)
    """Pages that one call of a stage works on, up to 64 MiB of pixels; what such a call holds is lost with its worker.
    GPUs want 16 or more. In a long run small pages travel, and are lost, together: those of up to 16 calls, of 8 MiB of
    pixels at most, and as many as a 128th of the documents that are listed before them."""
    decoders: int | None = Field(default=None, ge=1)
    """Number of decode workers."""
    detectors: int | None = Field(default=None, ge=1)
    """Number of detection workers (split)."""
    recognizers: int | None = Field(default=None, ge=1)
    """Number of recognition workers (split)."""
    readers: int | None = Field(default=None, ge=1)
    """Number of workers that detect and recognize (fused). Unset: on CPUs of one thread, as many as CPUs and memory
    allow."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """Share of a GPU for each detection or recognition worker."""
    object_store_mb: int | None = Field(default=None, ge=80)
    """Memory of Ray's object store when Ray is started here, in MiB. In a cluster that is joined: how much of all its
    object stores the run may fill; Ray's own bound is half of them. What waits between two stages, up to some ten
    batches for each worker, lies on Ray's disk where it does not fit."""
    worker_memory_mb: int | None = Field(default=None, ge=128)
    """Memory that a decode, detection or recognition worker may hold, in MiB; one that holds more is ended, and its
    pages are read again. A decoder's process has documents.memory_mb. Unset: Ray's own bound, 95 % of a node's."""
    attempts: int = Field(default=3, ge=1)
    """How often a page that failed for a passing reason is tried, over all runs."""
    max_error_rate: float = Field(default=1.0, gt=0)
    """A run stops early once this share of its results are failures, of at least 100, or of its batches are lost with
    their workers, of more than 100, or all of more than 100 in a row. 1: all of them; above: never."""


class JobConfig(Section):
    """One job, whole."""

    task: Literal["ocr", "detect", "recognize"] = "ocr"
    """ocr: find and read lines; detect: only find them; recognize: each input page is one line."""
    input: InputConfig = InputConfig()
    output: OutputConfig = OutputConfig()
    documents: DocumentsConfig = DocumentsConfig()
    engine: EngineConfig = EngineConfig()
    detection: DetectionConfig = DetectionConfig()
    recognition: RecognitionConfig = RecognitionConfig()
    pipeline: PipelineConfig = PipelineConfig()


def load(
    given: str | Mapping[str, Any] = "",
    overrides: Sequence[str] = (),
    source: str = "the config",
    values: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | None = None,
) -> JobConfig:
    """Builds a config from YAML text or its tree, from `key=value` overrides, read as YAML, and values as they are.

    values: by their keys, as `output.uri`; they win. profile: the tree of another config, whose keys count where none
    of these names them. Raises UsageError that names the key, what is wrong with it and where it came from.
    """
    tree = _tree(given, source) if isinstance(given, str) else copy.deepcopy(dict(given))
    for item in overrides:
        _assign(tree, *_parsed(item))
    for key, value in (values or {}).items():
        _assign(tree, key, value)
    _fill(tree, profile or {})
    try:
        return JobConfig.model_validate(tree)
    except ValidationError as error:  # not as the cause, either: it quotes values
        raise UsageError(_explain(error, source), "`ocrbatch config` shows every key with its meaning.") from None


def _tree(text: str, source: str) -> dict[str, Any]:
    try:
        tree = safe_yaml.parse(text)
    except safe_yaml.TooMuchError as error:
        raise UsageError(f"{source}: {error.problem}", "Give documents by a manifest, not in the config.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what looks like a date and is none
        mark = getattr(error, "problem_mark", None)  # not the error itself: it quotes the line, which may hold a secret
        where = f" at line {mark.line + 1}" if mark else ""
        raise UsageError(f"{source} is not valid YAML{where}", "Mend that line.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(f"{source} must be a mapping of keys to values", "See configs/quickstart.yaml.")
    return tree


def load_file(path: Path, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> JobConfig:
    """Reads a YAML file from disk; see `load`."""
    return load(read_file(path), overrides, str(path), values)


def read_file(path: Path) -> str:
    """The text of a config on disk. Raises UsageError."""
    try:
        with path.open(encoding="utf8") as file:
            return file.read(safe_yaml.MAX_CHARACTERS + 1)  # enough to see that it is too long
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        remedy = "Name a YAML file; documents go after --input, and a glob goes in quotes."
        raise UsageError(f"can't read the config {path}: {cause}", remedy) from error


def named(text: str, source: str) -> dict[str, Any]:
    """The tree of what a config names, once it is known to be one. Raises UsageError; see `load`."""
    return load(text, source=source).model_dump(exclude_unset=True)


def _parsed(item: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes key=value, not {_name(item)}", "For example --set engine.name=openvino")
    try:
        return key.strip(), safe_yaml.parse(value)
    except (yaml.YAMLError, ValueError):
        raise UsageError(
            f"--set {key}: the value is not valid YAML",
            "Quote it twice, once for the shell and once for YAML: --set \"input.include=['*.jpg']\"",
        ) from None


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = tree
    for part in parents:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise UsageError(f"--set {key}: {part!r} is a value, not a section", "`ocrbatch config` lists every key.")
    node[last] = value


def _fill(tree: dict[str, Any], profile: Mapping[str, Any]) -> None:
    """Puts into the tree what it does not name. A key that it names null is named; a section that is null is empty."""
    for key, value in profile.items():
        if isinstance(value, Mapping) and tree.setdefault(key, {}) is None:
            tree[key] = {}
        if isinstance(value, Mapping) and isinstance(tree[key], dict):
            _fill(tree[key], value)
        else:
            tree.setdefault(key, copy.deepcopy(value))


def _explain(error: ValidationError, source: str) -> str:
    # Never the value itself: it may be a secret that stands under a misspelt key.
    found = []
    for e in error.errors()[:5]:
        key = ".".join(_name(part) for part in e["loc"]) or "config"
        unknown = e["type"] == "extra_forbidden"
        unquoted = e["type"] == "string_type" and isinstance(e["input"], int | float | date)
        near = difflib.get_close_matches(key, [name for name, _ in keys()], n=1) if unknown else []
        said = "there is no such key" if unknown else e["msg"].removeprefix("Value error, ")
        said = said.replace(", 'fake' or ", " or ")  # it is for tests
        advice = f"; did you mean {near[0]}?" if near else "; put it in quotes" if unquoted else ""
        if key.endswith("..."):
            advice = "; a colon needs a space after it"
        found.append(f"{key}: {said}{advice}")
    return f"{source}: " + "; ".join(found)


def _name(key: str | int) -> str:
    """What a key's name begins with: in `password:word`, which lacks a space, the word after it is a secret."""
    return re.sub(r"(?s)[^\w.-].*", "...", str(key))


def keys(section: type[BaseModel] = JobConfig, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Every key as `--set` takes it, with its meaning; None stands beside a section, whose keys follow it."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield prefix + name, None
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, " ".join((field.description or "").split())


def result_keys(config: JobConfig) -> dict[str, Any]:
    """The part of the config that can change a result, as plain JSON values."""
    return {
        "task": config.task,
        "documents": config.documents.model_dump(include={"dpi", "max_pixels", "max_image_pixels"}),
        "detection": config.detection.model_dump(exclude={"model_name", "model_dir", "batch_pixels"}),
        "recognition": config.recognition.model_dump(include={"score_thresh"}),
    }


def fingerprint(config: JobConfig, resolved: dict[str, Any]) -> str:
    """16 hex digits over everything that can change a result.

    resolved: what only a worker knows: the weights' SHA-256, the engine's build, precision and instruction set, the
    decoders' versions. Paths and names of weights don't enter, their hashes do.
    """
    tree = {"result_version": RESULT_VERSION, "config": result_keys(config), "resolved": resolved}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]
