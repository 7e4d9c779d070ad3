"""One tree of exceptions and one table of failure codes.

An exception ends a run and carries the exit code; a `DocumentError` ends one page or document and becomes a failure
row.
Invariant: whatever reaches a person has a cause and a remedy, and never a credential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class OcrBatchError(Exception):
    """Root of all errors of this package; `str(error)` is the cause, `remedy` what to do.

    report: of the run that it ended, with what was done until then, where it had begun.
    """

    exit_code: int = 2
    report: object | None = None

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        if remedy:
            self.add_note(f"-> {remedy}")  # a traceback in a notebook shows it, too

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with every field: exceptions travel between Ray's processes."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[OcrBatchError], args: tuple[str, ...], fields: dict[str, object]) -> OcrBatchError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(fields)
    return error


class UsageError(OcrBatchError):
    """The command line, the config or the environment can't be used as given."""


def install(extra: str) -> str:
    """The command that brings one of the optional dependencies. No package index has ocrbatch: it is its folder."""
    return f"pip install -e '.[{extra}]' in ocrbatch's own folder"


class MissingExtraError(UsageError):
    """An optional dependency is absent; the remedy is the pip command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed", install(extra))


class ModelError(UsageError):
    """Weights are unknown, missing, or not the bytes that the registry names."""


class OutputLockedError(OcrBatchError):
    """Another live run holds the output."""

    exit_code = 4


class OutputInconsistentError(OcrBatchError):
    """The output breaks a promise of the layout, or can't keep it (no exclusive create)."""

    exit_code = 4


class StoppedEarlyError(OcrBatchError):
    """The run ended before its work did; the same command resumes it."""

    exit_code = 5


class StorageError(StoppedEarlyError):
    """A storage call failed for good, after its retries."""


class NotFoundError(StorageError):
    """The object or file does not exist."""


class AccessDeniedError(StorageError):
    """The credentials are missing, wrong or expired, or don't allow this."""


class CredentialsError(AccessDeniedError):
    """The credentials themselves are missing, wrong or expired: no object can be reached by them, whichever it is."""


class DiskFullError(StorageError):
    """A disk or a quota is full."""


def ending(exit_code: int) -> type[OcrBatchError]:
    """The error with which a worker's own ends the run: usage, an output that is broken, or else stopped early."""
    kinds = {kind.exit_code: kind for kind in (UsageError, OutputInconsistentError)}
    return kinds.get(exit_code, StoppedEarlyError)


class InterruptedRunError(OcrBatchError):
    """Ctrl-C, SIGTERM or a closed terminal; `exit_code` is 130, 143 or 129."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(
            f"interrupted by {name}", "What was finished is kept: run the same command again to do the rest."
        )
        self.exit_code = 128 + number


@dataclass(frozen=True, slots=True)
class FailureCode:
    """What a code in failures/ means. `stage` is where it arises; `remedy` is the default advice."""

    code: str
    stage: str
    retryable: bool
    cause: str
    remedy: str


FAILURE_CODES: Final[dict[str, FailureCode]] = {
    c.code: c
    for c in (
        FailureCode(
            "FETCH_NOT_FOUND",
            "fetch",
            False,
            "The object was listed, or named by the manifest, but is not there.",
            "Check the path. If it was deleted, take it off the manifest, if any, and `ocrbatch dismiss` the failure.",
        ),
        FailureCode(
            "FETCH_DENIED",
            "fetch",
            True,
            "The storage refused to hand out the object.",
            "Check the input's credentials, role and bucket policy, then run again.",
        ),
        FailureCode(
            "FETCH_FAILED",
            "fetch",
            True,
            "Reading the object failed after all retries.",
            "Run again; if it stays, look at the storage's health.",
        ),
        FailureCode(
            "FETCH_CHANGED",
            "fetch",
            True,
            "The file was replaced after it was listed, or was not there yet then.",
            "Run again: the new version is listed and read.",
        ),
        FailureCode(
            "FETCH_TIMEOUT",
            "fetch",
            True,
            "Reading the object took longer than documents.fetch_timeout.",
            "Run again, or raise documents.fetch_timeout.",
        ),
        FailureCode(
            "FILE_TOO_LARGE",
            "fetch",
            False,
            "The file is larger than documents.max_bytes.",
            "Raise documents.max_bytes if it is a real document.",
        ),
        FailureCode(
            "FILE_EMPTY",
            "decode",
            False,
            "The file has no bytes.",
            "Upload it again, or exclude it and `ocrbatch dismiss` the failure.",
        ),
        FailureCode(
            "FILE_UNKNOWN",
            "decode",
            False,
            "The content is neither a PDF nor an image that can be read.",
            "Convert it to PDF, PNG or TIFF, or exclude it by pattern and `ocrbatch dismiss` the failure.",
        ),
        FailureCode(
            "ARCHIVE_BROKEN",
            "fetch",
            False,
            "The tar, zip or Parquet file can't be read, or the Parquet file has no column of bytes.",
            "Test the archive with its own tool and upload it again; name the column by input.bytes_column, or exclude "
            "a Parquet file that holds no documents.",
        ),
        FailureCode(
            "IMAGE_BROKEN",
            "decode",
            False,
            "The image's data is damaged or of a kind that can't be decoded.",
            "Open it in an image viewer; if it shows there, save it as PNG and upload that.",
        ),
        FailureCode(
            "IMAGE_TRUNCATED",
            "decode",
            False,
            "The image's data ends before the picture does.",
            "Upload it again: the file was most likely cut off on its way.",
        ),
        FailureCode(
            "IMAGE_BOMB",
            "decode",
            False,
            "The image claims more pixels than documents.max_image_pixels.",
            "If it is a real document, raise documents.max_image_pixels and documents.memory_mb.",
        ),
        FailureCode(
            "PDF_BROKEN",
            "decode",
            False,
            "The PDF's structure can't be read.",
            "Repair it (for example with `qpdf in.pdf out.pdf`) and upload it again.",
        ),
        FailureCode(
            "PDF_PASSWORD",
            "decode",
            False,
            "The PDF is encrypted and no password that was given opens it.",
            "Give the password by documents.passwords (pattern, and a file or a variable that holds it).",
        ),
        FailureCode(
            "PDF_PAGE_BROKEN",
            "decode",
            False,
            "This page of the PDF can't be loaded or rendered.",
            "Look at the page in a PDF viewer; repair the file (`qpdf in.pdf out.pdf`) and upload it again.",
        ),
        FailureCode(
            "PDF_NO_PAGES",
            "decode",
            False,
            "The PDF has no pages.",
            "Check the program that wrote it, or exclude it and `ocrbatch dismiss` the failure.",
        ),
        FailureCode(
            "PAGES_EMPTY",
            "decode",
            False,
            "documents.pages selects no page of this document.",
            "Widen documents.pages.",
        ),
        FailureCode(
            "DECODE_TIMEOUT",
            "decode",
            True,
            "Decoding took longer than documents.timeout: the page is too much, or the machine was busy.",
            "Run again; if it stays, raise documents.timeout, or, for a PDF, lower documents.dpi.",
        ),
        FailureCode(
            "DECODE_MEMORY",
            "decode",
            False,
            "Decoding needed more memory than documents.memory_mb.",
            "Raise documents.memory_mb, or, for a PDF, lower documents.dpi.",
        ),
        FailureCode(
            "DECODE_KILLED",
            "decode",
            True,
            "The decoder's process was killed from outside, most likely because the machine ran out of memory.",
            "Run again; if it stays, give the workers more memory, start fewer, or lower documents.memory_mb.",
        ),
        FailureCode(
            "DECODE_CRASHED",
            "decode",
            False,
            "The decoder's process died on this document.",
            "The file is damaged or hostile: repair it, or exclude it and `ocrbatch dismiss` the failure.",
        ),
        FailureCode(
            "DETECT_FAILED",
            "detect",
            True,
            "Text detection raised an error on this page.",
            "Run again; if it stays, report it with the page.",
        ),
        FailureCode(
            "RECOGNIZE_FAILED",
            "recognize",
            True,
            "Text recognition raised an error on this page.",
            "Run again; if it stays, report it with the page.",
        ),
        FailureCode(
            "WORKER_CRASHED",
            "pipeline",
            True,
            "Each worker that came to this page died, took longer than engine.timeout or more than "
            "pipeline.worker_memory_mb, or its result was lost.",
            "Run again; if it stays, look at the page and at the workers' memory, or raise engine.timeout or "
            "pipeline.worker_memory_mb.",
        ),
    )
}


class DocumentError(OcrBatchError):
    """One page or document can't be read; becomes a row of failures/ and ends nothing else."""

    exit_code = 3

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        self.code = FAILURE_CODES[code]
        super().__init__(message, remedy or self.code.remedy)
