"""The parent's side of the decoder: one child process, started when needed, killed when it misbehaves.

Invariant: whatever a document does to the child (crash, hang, eat memory) comes out as a DocumentError of that document
or page, within the time limits, and the next call works again.

A persistent `Popen` child, never fork: it starts in 0.1 s, where multiprocessing's spawn in a Ray actor imports ray
again and takes a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import numpy as np

from ocrbatch.config import DocumentsConfig
from ocrbatch.documents import wire
from ocrbatch.documents.limits import ORPHAN_SIGNAL, Limits
from ocrbatch.errors import DocumentError, StoppedEarlyError, UsageError
from ocrbatch.records import Page

START_TIMEOUT: Final = 60.0
"""Seconds for a child to start, on a machine that is busy."""
STARTS: Final = 3
"""How often a child is started that is killed before it is ready."""
START_PAUSE: Final = 1.0
"""Seconds before the second time; twice as many before the third."""
DOCUMENTS_PER_CHILD: Final = 500
"""A child is replaced after so many documents: what the decoders leak stays bounded, for 0.2 ms a document."""

_PIPE_BYTES: Final = 1 << 20
# Never the whole environment: the child opens strangers' files, and credentials live in variables.
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LD_PRELOAD")
_PASSED_PREFIXES: Final = ("LC_", "PYTHON", "FONTCONFIG_")
_OUT_OF_MEMORY: Final = ("bad_alloc", "out of memory", "cannot allocate", "memoryerror", "malloc")
# A child that dies with more than this share of its limit resident has most likely died of it: pdfium ends the process
# where an allocation fails, by a signal that says nothing.
_MEMORY_SHARE: Final = 0.5
_DEATHS: Final = frozenset({"DECODE_MEMORY", "DECODE_KILLED", "DECODE_CRASHED"})


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Opened:
    """A document that opens. page_count: at least 1."""

    kind: Literal["pdf", "image"]
    page_count: int


class _OrphanedError(Exception):
    """The thread that started the child ended, and the kernel took the child with it; the document is innocent."""


class Sandbox:
    """Opens one document at a time in a child process. Not for several threads at once.

    Raises DocumentError for whatever is wrong with a document, UsageError if the child can't be started at all.
    """

    def __init__(self, config: DocumentsConfig, command: Sequence[str] | None = None) -> None:
        """command: what to start instead of the decoder, for tests."""
        self._config = config
        self._limits = Limits(config.dpi, config.max_pixels, config.max_image_pixels)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = -1
        self._document: tuple[str, list[str]] | None = None
        self._opened = Opened("image", 1)
        self._attached = False
        self._documents = 0
        self._pages = 0

    def open(self, path: Path, passwords: Sequence[str] = ()) -> Opened:
        """Opens a local file, in place of the one before. Passwords are tried in turn, after none at all.

        Raises DocumentError: FETCH_FAILED, FILE_EMPTY, FILE_UNKNOWN, IMAGE_*, PDF_*, DECODE_*.
        """
        if self._documents >= DOCUMENTS_PER_CHILD:
            self.close()
        self._document, self._attached = (os.path.abspath(path), list(passwords)), False  # noqa: PTH100 (keeps links)
        return self._again_if_worn(self._attach)

    def page(self, index: int) -> Page:
        """Decodes a page (from 0) of the open document: RGB, (H, W, 3) uint8.

        After a failure that cost the child its life, the document is opened again in a new one.
        Raises DocumentError: as `open`, and PDF_PAGE_BROKEN.
        """
        return self._again_if_worn(lambda: self._page(index))

    def close(self) -> None:
        """Ends the child, if there is one. The sandbox can be used again."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _again_if_worn(self, call: Callable[[], _Result]) -> _Result:
        """A child that died after other work may have died of what that left behind: the second try is in a new one."""
        worn = self._pages > 0 or self._documents > int(self._attached)
        try:
            return call()
        except _OrphanedError:
            pass
        except DocumentError as error:
            if not worn or error.code.code not in _DEATHS:
                raise
        try:
            return call()
        except _OrphanedError as error:
            raise DocumentError("DECODE_KILLED", "The decoder was ended from outside, twice.") from error

    def _attach(self) -> Opened:
        if self._document is None:
            raise ValueError("no document is open")
        path, passwords = self._document
        self._start()
        self._documents += 1
        request = {"op": "open", "path": path, "passwords": passwords, "limits": asdict(self._limits)}
        with self._watched("Opening the document") as deadline:
            answer = self._ask(request, deadline)
            self._opened = Opened(answer["kind"], answer["pages"])
        self._attached = True
        return self._opened

    def _page(self, index: int) -> Page:
        if not self._attached or self._process is None:
            self._attach()
        with self._watched(f"Decoding page {index + 1}") as deadline:
            answer = self._ask({"op": "page", "index": index}, deadline)
            width, height = int(answer["width"]), int(answer["height"])
            if not 0 < width * height <= max(self._limits.max_pixels, self._limits.max_image_pixels):
                raise ValueError("a page beyond every limit")
            pixels = np.empty((height, width, 3), np.uint8)
            self._receive(pixels.data.cast("B"), deadline)
        self._pages += 1
        return Page(pixels, page_index=index, page_count=self._opened.page_count, dpi=answer["dpi"])

    @contextlib.contextmanager
    def _watched(self, what: str) -> Iterator[float]:
        """Gives the deadline; whatever leaves the conversation unfinished ends the child, and says why."""
        try:
            yield time.monotonic() + self._config.timeout
        except DocumentError as error:
            if error.code.code == "DECODE_MEMORY":  # its heap is full of holes: a new one is cheap
                self._end()
            raise
        except TimeoutError as error:
            self._end()
            raise DocumentError("DECODE_TIMEOUT", f"{what} took longer than {self._config.timeout:g} s.") from error
        except (EOFError, BrokenPipeError) as error:  # it is gone, or about to be
            raise self._post_mortem(what, grace=2.0) from error
        except (ValueError, TypeError, KeyError) as error:  # it talks nonsense
            raise self._post_mortem(what, grace=0.0) from error
        except BaseException:
            self._end()
            raise

    def _ask(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        self._transmit(memoryview(wire.pack(request)), deadline)
        answer = self._receive_header(deadline)
        if "error" in answer:
            raise DocumentError(answer["error"], answer["message"], answer["remedy"])
        return answer

    def _receive_header(self, deadline: float) -> dict[str, Any]:
        prefix = bytearray(wire.PREFIX.size)
        self._receive(memoryview(prefix), deadline)
        (size,) = wire.PREFIX.unpack(bytes(prefix))
        if size > wire.MAX_HEADER:
            raise ValueError("a header beyond every limit")
        body = bytearray(size)
        self._receive(memoryview(body), deadline)
        return wire.unpack(bytes(body))

    def _receive(self, view: memoryview, deadline: float) -> None:
        stream = self._running().stdout
        assert stream is not None
        while view:
            _wait(stream.fileno(), select.POLLIN, deadline)
            try:
                count = os.readv(stream.fileno(), [view])
            except BlockingIOError:
                continue
            if count == 0:
                raise EOFError
            view = view[count:]

    def _transmit(self, view: memoryview, deadline: float) -> None:
        stream = self._running().stdin
        assert stream is not None
        while view:
            _wait(stream.fileno(), select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(stream.fileno(), view) :]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise EOFError
        return self._process

    def _start(self) -> None:
        for number in range(STARTS):
            if self._process is not None:
                return
            time.sleep(number * START_PAUSE)
            self._try_to_start()
        if self._process is None:
            raise StoppedEarlyError(
                f"the decoder's process was killed {STARTS} times while it started",
                "The machine is most likely short of memory: give it more, or start fewer workers; then run again.",
            )

    def _try_to_start(self) -> None:
        """Leaves no process where it was killed before it was ready, as a machine short of memory may do."""
        self._stderr = os.memfd_create("ocrbatch-decoder-stderr")
        arguments = (str(self._config.memory_mb), str(os.getpid()))
        command = self._command or (sys.executable, "-P", "-m", "ocrbatch.documents.child", *arguments)
        pipe = subprocess.PIPE
        # What wait4 will say of the child's memory is never less than this: it begins as an image of its parent.
        self._inherited_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        try:
            process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._stderr, bufsize=0, env=_environment()
            )
            self._process = process
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
                # Fewer switches between the two; the system may have run out of room for larger pipes.
                with contextlib.suppress(OSError):
                    fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._receive_header(time.monotonic() + START_TIMEOUT)
        except (EOFError, OSError, ValueError) as error:  # TimeoutError is an OSError
            said = self._complaint() or (error.strerror if isinstance(error, OSError) else "")
            status, _ = self._end(grace=1.0 if isinstance(error, EOFError) else 0.0)
            if status == -signal.SIGKILL:
                return
            raise UsageError(
                f"the decoder's process does not start: {said or 'it says nothing'}",
                "Check that this Python can import ocrbatch, PIL and pypdfium2, and that processes may be started.",
            ) from error
        except BaseException:
            self._end()
            raise

    def _complaint(self) -> str:
        """The last line that the child printed on stderr."""
        size = os.fstat(self._stderr).st_size
        lines = os.pread(self._stderr, 4096, max(0, size - 4096)).decode("utf8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def _post_mortem(self, what: str, grace: float) -> Exception:
        """Reaps a child that went away (or talks nonsense) and says what it died of."""
        complaint = self._complaint().lower()
        status, resident_mb = self._end(grace)
        if resident_mb <= self._inherited_mb:
            resident_mb = 0.0  # unknown, and less than that
        limit = self._config.memory_mb
        memory = DocumentError("DECODE_MEMORY", f"{what} needed more memory than documents.memory_mb ({limit} MiB).")
        if status == -ORPHAN_SIGNAL:
            return _OrphanedError()
        if status == wire.EXIT_MEMORY or any(sign in complaint for sign in _OUT_OF_MEMORY):
            return memory
        if status == -signal.SIGKILL:
            # Its own limit never does that: an allocation beyond it fails.
            cause = "from outside, most likely because the machine or the container ran out of memory"
            return DocumentError("DECODE_KILLED", f"{what} was killed {cause}.")
        if status < 0:
            if resident_mb > limit * _MEMORY_SHARE:
                return memory
            return DocumentError("DECODE_CRASHED", f"{what} crashed the decoder ({signal.Signals(-status).name}).")
        return DocumentError("DECODE_CRASHED", f"{what} ended the decoder (exit status {status}).")

    def _end(self, grace: float = 0.0) -> tuple[int, float]:
        """Ends and reaps the child, if there is one; within `grace` seconds it may end by itself.

        Returns its status (negative: a signal; 0 if it had to be killed) and the most memory it had resident, in MiB.
        """
        process, self._process = self._process, None
        stderr, self._stderr = self._stderr, -1
        self._attached = False
        self._documents = self._pages = 0
        if stderr >= 0:
            os.close(stderr)
        if process is None:
            return 0, 0.0
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        return _reap(process, grace)


def _reap(process: subprocess.Popen[bytes], grace: float) -> tuple[int, float]:
    # wait4, not Popen.wait: it also tells how much memory the child had.
    deadline = time.monotonic() + grace
    killed = False
    try:
        while True:
            reaped, status, usage = os.wait4(process.pid, 0 if killed else os.WNOHANG)
            if reaped:
                break
            if time.monotonic() < deadline:
                time.sleep(0.005)
                continue
            os.kill(process.pid, signal.SIGKILL)
            killed = True
    except ChildProcessError:  # somebody else reaps this process's children
        process.returncode = 0
        return 0, 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return (0 if killed else process.returncode), usage.ru_maxrss / 1024


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    left = deadline - time.monotonic()
    if left <= 0 or not poller.poll(left * 1000):
        raise TimeoutError


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in _PASSED_ON or key.startswith(_PASSED_PREFIXES)}
    # The child must find what this process found, wherever a cluster's runtime environment put it.
    package = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([package, *(path for path in sys.path if path)]))
    # Decoding is one thread's work, and every thread's stack counts against the memory limit.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
