"""Secrets in every place where a user may put one, searched for in everything that a run writes or shows."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pikepdf
import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from dataset import DOCUMENTS
from servers import MotoServer

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.s3, pytest.mark.timeout(300)]

MARK = "planted"  # in each of them


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path: Ray's sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def locked(password: str) -> bytes:
    """A PDF of one page that opens with the password alone."""
    out = io.BytesIO()
    with pikepdf.open(DOCUMENTS / "agreement.pdf") as pdf:
        pdf.save(out, encryption=pikepdf.Encryption(owner=f"{MARK}-owner", user=password))
    return out.getvalue()


def shown(process: subprocess.Popen[bytes]) -> str:
    """What `ps` shows of a run's processes, from its start to its end."""
    seen: set[str] = set()
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            family = [root, *root.children(recursive=True)]
        except psutil.Error:
            break
        for one in family:
            try:
                seen.add(" ".join([one.name(), *one.cmdline()]))
            except psutil.Error:  # it has ended
                continue
        time.sleep(0.1)
    return "\n".join(seen)


def texts(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder: its bytes, and the rows and the footer of a Parquet file in plain text."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            body = path.read_bytes()
            if path.suffix == ".parquet":
                table = pq.read_table(io.BytesIO(body))
                body += repr((table.to_pylist(), table.schema.metadata)).encode()
            yield path, body


def command(place: Path, config: dict, **variables: str) -> tuple[int, str, str]:
    """Exit code, what it said, and what `ps` showed of the command with this config."""
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    folders = {"TMPDIR": str(place / "tmp"), "RAY_TMPDIR": str(place / "ray")}
    for folder in folders.values():
        Path(folder).mkdir(exist_ok=True)
    words = [sys.executable, "-m", "ocrbatch.cli.main", "run", str(place / "config.yaml")]
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(words, env=os.environ | folders | variables, stdout=said, stderr=said)
        titles = shown(process)
    (place / "config.yaml").unlink()
    return process.wait(timeout=60), (place / "said").read_text(), titles


def test_planted_secrets_are_found_nowhere(place: Path, moto_s3: MotoServer) -> None:
    bucket, client = moto_s3.bucket(), moto_s3.client()
    bodies = {
        "by-variable.pdf": locked(f"{MARK}-variable"),
        "by-file.pdf": locked(f"{MARK}-file"),
        "never.pdf": locked(f"{MARK}-never"),
        "broken.png": b"\x89PNG\r\n\x1a\n",
        "a.png": (DOCUMENTS / "invoice.png").read_bytes(),
    }
    for name, body in bodies.items():
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=body)
    passwords = place / "passwords"
    passwords.write_text(f"{MARK}-wrong\n{MARK}-file\n")
    storage = {"endpoint_url": moto_s3.endpoint, "region": moto_s3.region}
    keys = {"key": f"{MARK}-key", "secret": f"{MARK}-secret", "token": f"{MARK}-token"}
    config = {
        "engine": {"name": "fake"},
        "input": {
            "uris": [f"s3://{bucket}/in"],
            "storage": storage | keys | {"options": {"s3_additional_kwargs": {"SSECustomerKeyNote": f"{MARK}-option"}}},
        },
        "output": {"uri": f"s3://{bucket}/out", "storage": storage},
        "documents": {"passwords": [{"env": "PDF_PASSWORD"}, {"file": str(passwords)}]},
    }
    variables = {
        "AWS_ACCESS_KEY_ID": f"{MARK}-env-key",
        "AWS_SECRET_ACCESS_KEY": f"{MARK}-env-secret",
        "AWS_SESSION_TOKEN": f"{MARK}-env-token",
        "PDF_PASSWORD": f"{MARK}-variable",
    }
    code, said, titles = command(place, config, **variables)
    assert code == 3, said
    assert "PDF_PASSWORD" in said
    passwords.unlink()
    for name, body in moto_s3.objects(bucket, "out/").items():
        path = place / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    found = dict(texts(place))
    assert any("/pages/" in str(path) and b"by-file.pdf" in body for path, body in found.items()), (
        "the search sees rows"
    )
    assert sum("/ray/" in str(path) and path.suffix in (".log", ".err", ".out") for path in found) > 5
    assert "ray::" in titles and "config.yaml" in titles
    assert "documents.child" in titles or "documents/child" in titles
    assert MARK not in titles
    assert [str(path) for path, body in found.items() if MARK.encode() in body] == []


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [
        ({"uris": [f"https://me:{MARK}@127.0.0.1:9/a.pdf"]}, 2),
        ({"uris": [f"https://127.0.0.1:9/a.pdf?sig={MARK}"]}, 2),
        ({"uris": [f"s3n://me:{MARK}@b/a"]}, 2),
        ({"uris": [f"s3a://me:wo/{MARK}@b/a"]}, 2),
        ({"uris": ["s3://b/a"], "storage": {"endpoint_url": f"http://me:{MARK}@127.0.0.1:9", "retries": 0}}, 5),
        ({"uris": ["s3://b/a"], "storage": {"secrte": f"{MARK}"}}, 2),
        ({"uris": ["s3://b/a"], "storage": {"key": [f"{MARK}"]}}, 2),
    ],
)
def test_an_error_holds_no_secret(place: Path, changes: dict, exit_code: int) -> None:
    config = {"engine": {"name": "fake"}, "input": changes, "output": {"uri": str(place / "out")}}
    variables = {"AWS_ACCESS_KEY_ID": f"{MARK}-key", "AWS_SECRET_ACCESS_KEY": f"{MARK}-secret"}
    code, said, _ = command(place, config, **variables)
    assert code == exit_code, said
    assert "Traceback" not in said
    assert [str(path) for path, body in texts(place) if MARK.encode() in body] == []
