"""Every config that ships loads, says something, and names only keys that exist."""

import traceback
from pathlib import Path

import pytest
import yaml

from ocrbatch import config
from ocrbatch.errors import UsageError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_named_configs_are_there() -> None:
    assert {"quickstart.yaml", "ocr_cpu.yaml", "ocr_gpu.yaml", "nightly.yaml", "backfill.yaml"} <= {
        p.name for p in CONFIGS
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_loads_and_is_a_whole_job(path: Path) -> None:
    job = config.load_file(path)
    assert job.output.uri
    assert bool(job.input.uris) != bool(job.input.manifest)
    # What the file says is what the config holds: no key is dropped or overwritten on the way.
    said = yaml.safe_load(path.read_text(encoding="utf8"))
    held = job.model_dump(mode="json")
    assert _within(said, held) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_begins_with_what_it_is_for_and_holds_no_secret(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    assert text.startswith("# ")
    job = config.load(text)
    for storage in (job.input.storage, job.output.storage):
        assert (storage.key, storage.secret, storage.token) == (None, None, None)


def test_a_key_that_does_not_exist_is_refused() -> None:
    text = (ROOT / "configs/quickstart.yaml").read_text(encoding="utf8")
    with pytest.raises(UsageError, match="pipelines"):
        config.load(text + "\npipelines: {layout: fused}\n")


@pytest.mark.parametrize("text", ["input:\n", "input:\n  storage:\n", "# nothing\n", "input: {storage: null}\n"])
def test_a_section_without_lines_is_an_empty_one(text: str) -> None:
    assert config.load(text) == config.JobConfig()
    job = config.load(text, ["input.uris=[a]", "input.storage.region=r"])
    assert (job.input.uris, job.input.storage.region) == (("a",), "r")


def test_every_key_has_a_meaning_and_sections_have_none() -> None:
    keys = dict(config.keys())
    assert keys["input.storage"] is None
    assert keys["documents.dpi"]
    assert all(meaning is None or meaning.strip() for meaning in keys.values())
    assert {key for key, meaning in keys.items() if meaning is None} == {
        *("input", "input.storage", "output", "output.storage", "documents"),
        *("engine", "detection", "recognition", "pipeline"),
    }


def test_the_quickstart_reads_the_samples_of_the_project() -> None:
    job = config.load_file(ROOT / "configs/quickstart.yaml")
    assert all((ROOT / uri).is_dir() for uri in job.input.uris)
    assert job.output.uri == "out/quickstart"


def _within(said: object, held: object, at: str = "") -> list[str]:
    """The places at which `held` does not hold what `said` says."""
    if isinstance(said, dict) and isinstance(held, dict):
        return [place for key, value in said.items() for place in _within(value, held.get(key), f"{at}.{key}")]
    if isinstance(said, list) and isinstance(held, list) and len(said) == len(held):
        return [place for n, pair in enumerate(zip(said, held, strict=True)) for place in _within(*pair, f"{at}[{n}]")]
    return [] if said == held else [at]


@pytest.mark.parametrize(
    ("given", "kept"), [("/", "/"), ("s3://b/out//", "s3://b/out"), ("s3:///", "s3:///"), ("a/", "a")]
)
def test_an_output_keeps_the_slashes_that_separate_nothing(given: str, kept: str) -> None:
    assert config.load(values={"output.uri": given}).output.uri == kept


def test_values_win_and_are_taken_as_they_are() -> None:
    name = "out/\U0001f4c4 [a: b]\udcff"  # an emoji, what YAML would read, a byte that is no UTF-8
    job = config.load("output: {uri: x}", ["output.uri=y"], values={"output.uri": name})
    assert job.output.uri == name
    assert config.load({"output": {"uri": name}}).output.uri == name


def test_a_profile_counts_where_nothing_else_names_a_key() -> None:
    profile = {"pipeline": {"layout": "split", "page_batch": 4, "readers": 2}, "engine": {"threads": 1}}
    text = "pipeline: {page_batch: 16, readers: null}\nengine:\n"
    job = config.load(text, ["pipeline.layout=fused"], profile=profile)
    assert (job.pipeline.layout, job.pipeline.page_batch, job.engine.threads) == ("fused", 16, 1)
    assert job.pipeline.readers is None, "null is a value, too"
    assert config.load("pipeline:\n", profile=profile).pipeline.readers == 2, "an empty section names nothing"
    assert config.load(profile=profile) == config.load(profile)


def test_what_a_profile_names_is_only_what_it_says() -> None:
    assert config.named("pipeline: {readers: 2}", "p.yaml") == {"pipeline": {"readers": 2}}
    with pytest.raises(UsageError, match=r"p\.yaml: pipeline\.reader: there is no such key"):
        config.named("pipeline: {reader: 2}", "p.yaml")


def test_a_page_number_needs_no_quotes_and_zero_is_not_all() -> None:
    assert [config.load(overrides=[f"documents.pages={n}"]).documents.pages for n in ("3", "0", "2-", "")] == [
        *("3", "0", "2-", "")
    ]


@pytest.mark.parametrize("text", ["key: 0123", "key: 1_0", "region: 2026-11-21", "secret: 1.0"])
def test_text_that_yaml_takes_for_a_number_is_not_altered_but_refused(text: str) -> None:
    with pytest.raises(UsageError, match="put it in quotes"):
        config.load("input: {storage: {" + text + "}}")


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("input: {storage: {secrt: hunter2}}", []),
        ("input: {storage: {secret: [hunter2]}}", []),
        ("input: {storage: {secret: [hunter2}}", []),
        ("", ["input.storage.secret=[hunter2"]),
        ("", ["input.storage.secret:hunter2"]),
        ("", ["documents.passwords=[{pattern:'*',password:hunter2}]"]),
        ("", ["documents.passwords=[{password=hunter2: 1}]"]),
        ("", ["input.storage.http_hosts=['u:hunter2@h']"]),
        ("input: {storage: {http_hosts: ['https://h/?sig=hunter2']}}", []),
    ],
)
def test_no_traceback_holds_a_secret(text: str, overrides: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(text, overrides)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("override", ["engine.timeout=.inf", "engine.timeout=1e10", "documents.timeout=.nan"])
def test_a_time_that_no_clock_takes_is_refused(override: str) -> None:
    with pytest.raises(UsageError, match="timeout"):
        config.load(overrides=[override])
