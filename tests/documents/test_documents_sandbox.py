"""The child process: it works, and whatever happens to it becomes a DocumentError of the page in hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from waiting import until

from ocrbatch.config import DocumentsConfig
from ocrbatch.documents.pages import PageFailure, iter_pages
from ocrbatch.documents.sandbox import Opened, Sandbox
from ocrbatch.errors import DocumentError, StoppedEarlyError, UsageError

# Talks like the real child, and misbehaves at page 1 (from 0) as its first argument says. With a second argument, a
# file, it does so only once.
STAND_IN = """
import os, signal, sys, time
from pathlib import Path
from ocrbatch.documents import wire
from ocrbatch.documents.limits import confine
how, once = sys.argv[1], sys.argv[2:]
if how == "memory":
    confine(64, os.getppid())
def say(message, body=b""):
    sys.stdout.buffer.write(wire.pack(message) + body)
    sys.stdout.buffer.flush()
say({"ready": True})
while (request := wire.read(sys.stdin.buffer)) is not None:
    if request["op"] == "open":
        if how == "environment":
            say({"error": "PDF_BROKEN", "message": " ".join(sorted(os.environ)), "remedy": ""})
        elif how == "arguments":
            say({"error": "PDF_BROKEN", "message": repr(sys.argv), "remedy": ""})
        else:
            say({"kind": "pdf", "pages": 6})
        continue
    bad = request["index"] >= 1 if how.endswith("-always") else request["index"] == 1
    if bad and once and Path(once[0]).exists():
        bad = False
    if bad:
        for path in once:
            Path(path).touch()
        kind = how.removesuffix("-always")
        if kind == "segfault": os.kill(os.getpid(), signal.SIGSEGV)
        elif kind == "killed": os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "hang": time.sleep(600)
        elif kind == "exit": os._exit(3)
        elif kind == "nonsense": os.write(1, b"\\xff" * 100); time.sleep(600)
        elif kind == "half": say({"width": 1000, "height": 1000, "dpi": None}, b"x" * 1000); time.sleep(600)
        elif kind == "liar": say({"width": 10**6, "height": 10**6, "dpi": None}); time.sleep(600)
        elif kind == "memory":
            try:
                bytearray(1 << 30)
            except MemoryError:
                os._exit(wire.EXIT_MEMORY)
    say({"width": 2, "height": 1, "dpi": 72.0}, bytes([request["index"]] * 6))
"""


def stand_in(how: str, timeout: float = 30.0, once: Path | None = None) -> Sandbox:
    command = [sys.executable, "-c", STAND_IN, how, *([str(once)] if once else [])]
    return Sandbox(DocumentsConfig(timeout=timeout), command)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(DocumentsConfig()) as made:
        yield made


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    frames = [Image.new("RGB", (40 + n, 30), (n, 2 * n, 3 * n)) for n in range(4)]
    frames[0].save(tmp_path / "scan.tif", save_all=True, append_images=frames[1:])
    return tmp_path / "scan.tif"


def test_pages_come_through(sandbox: Sandbox, scan: Path) -> None:
    assert sandbox.open(scan) == Opened("image", 4)
    page = sandbox.page(3)
    assert page.image.shape == (30, 43, 3)
    assert page.image.dtype == np.uint8
    assert page.image.flags.c_contiguous
    assert page.image.flags.writeable
    assert tuple(page.image[0, 0]) == (3, 6, 9)
    assert (page.page_index, page.page_count, page.dpi) == (3, 4, None)


def test_large_pages_come_through_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2500, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.bmp")
    sandbox.open(tmp_path / "a.bmp")
    np.testing.assert_array_equal(sandbox.page(0).image, noise)


def test_errors_come_through_and_the_child_stays(sandbox: Sandbox, tmp_path: Path, scan: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(DocumentError) as caught:
        sandbox.open(tmp_path / "empty")
    assert caught.value.code.code == "FILE_EMPTY"
    assert caught.value.remedy
    child = sandbox._process
    with pytest.raises(DocumentError) as caught:
        sandbox.open(tmp_path / "absent")
    assert caught.value.code.code == "FETCH_FAILED"
    sandbox.open(scan)
    assert sandbox.page(0).page_count == 4
    assert sandbox._process is child


def test_file_names_that_are_not_utf8(sandbox: Sandbox, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe ~ \n.png"))
    Image.new("L", (3, 2)).save(path, format="PNG")
    sandbox.open(path)
    assert sandbox.page(0).image.shape == (2, 3, 3)


def test_the_child_is_light(sandbox: Sandbox, scan: Path) -> None:
    sandbox.open(scan)
    sandbox.page(0)
    assert sandbox._process is not None
    process = psutil.Process(sandbox._process.pid)
    assert process.memory_info().rss < 80 << 20
    mapped = " ".join(entry.path for entry in process.memory_maps())
    for heavy in ("pydantic", "pyarrow", "cv2", "_raylet", "numpy"):
        assert f"/{heavy}" not in mapped


def test_the_child_can_not_write_files_or_dump_core(sandbox: Sandbox, scan: Path) -> None:
    sandbox.open(scan)
    assert sandbox._process is not None
    limits = Path(f"/proc/{sandbox._process.pid}/limits").read_text()
    soft = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert soft["Max core file size"] == "0"
    assert soft["Max file size"] == str(1 << 20)
    assert int(soft["Max address space"]) < (2048 + 400) << 20


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("segfault", "DECODE_CRASHED", "SIGSEGV"),
        ("killed", "DECODE_KILLED", "killed"),
        ("exit", "DECODE_CRASHED", "status 3"),
        ("memory", "DECODE_MEMORY", "memory_mb"),
        ("liar", "DECODE_CRASHED", "page 2"),
        ("nonsense", "DECODE_CRASHED", "page 2"),
    ],
)
def test_a_death_is_one_page_failure(tmp_path: Path, how: str, code: str, words: str) -> None:
    with stand_in(how) as sandbox:
        results = list(iter_pages(sandbox, tmp_path))
    assert [r.page_index for r in results] == list(range(6))
    failures = [r for r in results if isinstance(r, PageFailure)]
    assert [(f.page_index, f.page_count, f.error.code.code) for f in failures] == [(1, 6, code)]
    assert words in str(failures[0].error)
    assert failures[0].error.code.retryable == (how == "killed"), "only what comes from outside may pass"
    good = [r for r in results if not isinstance(r, PageFailure)]
    assert all((page.image == page.page_index).all() for page in good)


@pytest.mark.parametrize("how", ["hang", "half"])
def test_a_hang_ends_at_the_time_limit(tmp_path: Path, how: str) -> None:
    started = time.monotonic()
    with stand_in(how, timeout=1.0) as sandbox:
        results = list(iter_pages(sandbox, tmp_path))
    assert time.monotonic() - started < 30
    failures = [r for r in results if isinstance(r, PageFailure)]
    assert [(f.page_index, f.error.code.code) for f in failures] == [(1, "DECODE_TIMEOUT")]
    assert "1 s" in str(failures[0].error)
    assert failures[0].error.code.retryable, "the machine may have been busy"


def test_a_worn_child_gets_a_second_chance(tmp_path: Path) -> None:
    with stand_in("segfault", once=tmp_path / "marker") as sandbox:
        assert not [r for r in iter_pages(sandbox, tmp_path) if isinstance(r, PageFailure)]


def test_a_killer_document_is_given_up(tmp_path: Path) -> None:
    started = time.monotonic()
    with stand_in("hang-always", timeout=1.0) as sandbox:
        results = list(iter_pages(sandbox, tmp_path))
    assert time.monotonic() - started < 30
    assert [r.page_index for r in results] == list(range(6))
    failures = [r for r in results if isinstance(r, PageFailure)]
    assert [f.page_index for f in failures] == [1, 2, 3, 4, 5]
    assert {f.error.code.code for f in failures} == {"DECODE_TIMEOUT"}
    assert ["Not tried" in str(f.error) for f in failures] == [False, False, False, True, True]


def test_the_real_child_is_held_to_its_memory(tmp_path: Path) -> None:
    Image.new("L", (20_000, 20_000)).save(tmp_path / "large.png")
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    with Sandbox(DocumentsConfig(memory_mb=128, max_image_pixels=10**9)) as sandbox:
        sandbox.open(tmp_path / "large.png")
        with pytest.raises(DocumentError) as caught:
            sandbox.page(0)
        assert caught.value.code.code == "DECODE_MEMORY"
        sandbox.open(tmp_path / "small.png")
        assert sandbox.page(0).image.shape == (20, 20, 3)


def test_credentials_do_not_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("PDF_PASSWORD_HR", "s3cret")
    with stand_in("environment") as sandbox, pytest.raises(DocumentError) as caught:
        sandbox.open(tmp_path)
    names = str(caught.value).split()
    assert "PATH" in names
    assert "PYTHONPATH" in names
    assert not [name for name in names if "AWS" in name or "PASSWORD" in name or "TOKEN" in name]


def test_passwords_are_not_arguments(tmp_path: Path) -> None:
    with stand_in("arguments") as sandbox, pytest.raises(DocumentError) as caught:
        sandbox.open(tmp_path, ["s3cret"])
    assert "s3cret" not in str(caught.value)
    with Sandbox(DocumentsConfig()) as sandbox, pytest.raises(DocumentError):
        sandbox.open(tmp_path, ["s3cret"])


def test_a_child_that_can_not_start_is_no_fault_of_the_document(tmp_path: Path) -> None:
    broken = Sandbox(DocumentsConfig(), [sys.executable, "-c", "import no_such_module_here"])
    with pytest.raises(UsageError, match="no_such_module_here"):
        broken.open(tmp_path)


def test_a_child_that_is_killed_while_it_starts_is_started_again(tmp_path: Path) -> None:
    """By whoever frees memory, say."""
    first = tmp_path / "first"
    killed = f"import os; from pathlib import Path; was = Path({str(first)!r}); old = was.exists(); was.touch()\n"
    killed += "if not old: os.kill(os.getpid(), 9)\n"
    with Sandbox(DocumentsConfig(), [sys.executable, "-c", killed + STAND_IN, ""]) as sandbox:
        assert sandbox.open(tmp_path) == Opened("pdf", 6)
    always = Sandbox(DocumentsConfig(), [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(StoppedEarlyError, match="killed 3 times while it started"):
        always.open(tmp_path)


def ended(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_thread_that_ends_takes_no_page_with_it(sandbox: Sandbox, scan: Path) -> None:
    """The kernel ties a child to the thread that started it."""
    thread = threading.Thread(target=sandbox.open, args=(scan,))
    thread.start()
    thread.join()
    assert sandbox._process is not None
    child = sandbox._process.pid
    until(lambda: ended(child), 10)
    assert tuple(sandbox.page(2).image[0, 0]) == (2, 4, 6)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_the_child_alone(sandbox: Sandbox, scan: Path, how: signal.Signals) -> None:
    """Those to the group reach it too."""
    sandbox.open(scan)
    child = sandbox._process
    assert child is not None
    os.kill(child.pid, how)
    assert sandbox.page(1).image.shape == (30, 41, 3)
    assert sandbox._process is child


def test_the_child_dies_with_its_parent(scan: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom ocrbatch.config import DocumentsConfig\n"
        "from ocrbatch.documents.sandbox import Sandbox\ns = Sandbox(DocumentsConfig())\n"
        f"s.open(Path({str(scan)!r}))\nprint(s._process.pid, flush=True)\nos.kill(s._process.pid, signal.SIGSTOP)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    # Stopped, it can't notice the end of its input; only the kernel's signal ends it, once it goes on.
    if psutil.pid_exists(child):
        os.kill(child, signal.SIGCONT)
    until(lambda: ended(child), 10)


def test_close_leaves_nothing_behind(scan: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    sandbox = Sandbox(DocumentsConfig())
    for _ in range(3):
        sandbox.open(scan)
        assert sandbox._process is not None
        child = sandbox._process.pid
        sandbox.close()
        assert not psutil.pid_exists(child)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_abandoned_walk_does_not_confuse_the_next(sandbox: Sandbox, scan: Path, tmp_path: Path) -> None:
    walk = iter_pages(sandbox, scan)
    next(walk)
    walk.close()
    Image.new("L", (5, 5), 77).save(tmp_path / "b.png")
    (page,) = iter_pages(sandbox, tmp_path / "b.png")
    assert not isinstance(page, PageFailure)
    assert (page.image == 77).all()
