"""What a backend's exception means: try again, or tell a person; and the loop that tries again.

Invariant: an error that leaves this room is one of `ocrbatch.errors`; its text names the URI and the cause, and holds
neither a credential of the config nor a URL's query string. Pure: exceptions are known by name; no backend is loaded.
"""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from ocrbatch.errors import (
    AccessDeniedError,
    CredentialsError,
    DiskFullError,
    NotFoundError,
    OcrBatchError,
    StorageError,
)
from ocrbatch.storage.hosts import KEY as HOSTS
from ocrbatch.storage.uris import LOCAL, redact, redact_text, scheme

T = TypeVar("T")

LONGEST_PAUSE: Final = 20.0  # seconds
# Cured by repetition though their HTTP status is 4xx: the body was damaged or slow on its way, or the service is busy.
_TRANSIENT_CODES: Final = frozenset(
    {
        "BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError", "OperationAborted",
        "RequestLimitExceeded", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable",
        "SlowDown", "Throttling", "ThrottlingException", "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)  # fmt: skip
_TRANSIENT_STATUS: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 507, 509, 520, 522, 524, 529})
_TRANSIENT_ERRNO: Final = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
        errno.EREMOTEIO, errno.ETIMEDOUT,
    }
)  # fmt: skip
_TRANSIENT_TYPES: Final = frozenset(
    {
        ("builtins", "ConnectionError"),
        ("builtins", "TimeoutError"),
        ("http", "IncompleteRead"),
        ("aiohttp", "ClientConnectionError"),
        ("aiohttp", "ClientPayloadError"),
        ("botocore", "ConnectionError"),
        ("botocore", "HTTPClientError"),
        ("botocore", "IncompleteReadError"),
        ("botocore", "ResponseParserError"),  # some servers answer SlowDown with broken XML
    }
)
_EXPIRED_CODES: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
# What is wrong is the credentials, so that every other object would be refused, too.
_CREDENTIAL_CODES: Final = _EXPIRED_CODES | {
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_CREDENTIAL_TYPES: Final = frozenset(
    {
        ("botocore", "CredentialRetrievalError"),
        ("botocore", "NoCredentialsError"),
        ("botocore", "PartialCredentialsError"),
        ("botocore", "ProfileNotFound"),
        ("botocore", "SSOError"),
        ("botocore", "TokenRetrievalError"),
    }
)
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SIDES: Final = "input.storage or output.storage, else the AWS_* variables"
_SECRET_NAME: Final = re.compile(r"key|secret|token|pass|sas|cred|sign|conn|auth|cookie|header", re.IGNORECASE)


class ShortBodyError(ConnectionError):
    """Fewer or more bytes came than the server had announced."""


class RefusedHostError(Exception):
    """A host that http(s) may not reach; fsspec wraps it in an error of its own."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _is_one_of(error: BaseException, names: frozenset[tuple[str, str]]) -> bool:
    return any((kind.__module__.partition(".")[0], kind.__name__) in names for kind in type(error).__mro__)


def http_status(error: BaseException) -> tuple[int | None, str]:
    """(HTTP status, S3 error code) of a failed request, as far as the backend tells; else (None, "")."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):  # botocore's ClientError
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = str(response.get("Error", {}).get("Code", ""))
            return (status if isinstance(status, int) else int(code) if code.isdigit() else None), code
        for name in ("status", "status_code", "code"):  # aiohttp, azure, gcsfs
            status = getattr(link, name, None)
            if isinstance(status, int) and 400 <= status < 600:
                return status, ""
        if _is_one_of(link, _TRANSIENT_TYPES):  # what lies below is no reply: aiohttp calls a short body a "400"
            break
    return None, ""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed when it is repeated."""
    status, code = http_status(error)
    if status is not None or code:
        return code in _TRANSIENT_CODES or status in _TRANSIENT_STATUS
    if is_missing(error) or is_denied(error):
        return False
    return any(_is_transient_link(link) for link in _chain(error))


def _is_transient_link(error: BaseException) -> bool:
    return _is_one_of(error, _TRANSIENT_TYPES) or (isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO)


def is_missing(error: BaseException) -> bool:
    """Whether the error says that there is no such object."""
    status, _ = http_status(error)
    if status is not None:
        return status in (404, 410)
    # fsspec says "not found" of an http server that can't be reached; the cause tells.
    reached = error.__cause__ is None or not _is_transient_link(error.__cause__)
    return isinstance(error, FileNotFoundError | NotADirectoryError) and reached


def is_denied(error: BaseException) -> bool:
    """Whether the error says that the credentials, or the file's permissions, don't do."""
    status, code = http_status(error)
    if status is not None or code:
        return status in (401, 403) or code == "AccessDenied" or code in _CREDENTIAL_CODES
    return is_credentials(error) or any(isinstance(link, PermissionError) for link in _chain(error))


def is_credentials(error: BaseException) -> bool:
    """Whether it says that the credentials are missing, wrong or expired, and not just this object's policy."""
    status, code = http_status(error)
    if status is not None or code:
        return code in _CREDENTIAL_CODES
    return any(_is_one_of(link, _CREDENTIAL_TYPES) for link in _chain(error))


def is_in_doubt(error: BaseException) -> bool:
    """Whether a failed conditional create leaves open who holds the name, so that only reading it tells.

    412 and EEXIST: it is taken, maybe by this very request, whose first reply was lost. 409: taken, or being taken.
    EINVAL without a status: s3fs's word for a 412 that lacks `<Condition>`. What is transient may have been applied.
    """
    status, code = http_status(error)
    if status is None and not code and isinstance(error, OSError) and error.errno in (errno.EINVAL, errno.EEXIST):
        return True
    return status in (409, 412) or code == "PreconditionFailed" or is_transient(error)


def translate(error: Exception, uri: str, action: str, secrets: Iterable[str] = ()) -> OcrBatchError:
    """The error of this package that says what `error` means; to be raised `from None`: causes may hold signed URLs."""
    if isinstance(error, OcrBatchError):
        return error
    kind, cause, remedy = _meaning(error, uri)
    return kind(scrub(f"can't {action} {redact(uri)}: {cause}", secrets), remedy)


def _meaning(error: Exception, uri: str) -> tuple[type[StorageError], str, str]:
    number = error.errno if isinstance(error, OSError) else None
    again = "then run the same command again."
    kind: type[StorageError] = StorageError
    if refused := next((link for link in _chain(error) if isinstance(link, RefusedHostError)), None):
        kind, cause, remedy = AccessDeniedError, str(refused), f"If the host is meant, add it to {HOSTS}."
    elif is_missing(error) and http_status(error)[1] == "NoSuchBucket":
        kind, cause, remedy = NotFoundError, "no such bucket", "Check the bucket's name, the endpoint and the region."
    elif is_missing(error):
        kind, cause, remedy = (
            NotFoundError,
            "it does not exist",
            "Check the path, and that nothing deletes it meanwhile.",
        )
    elif number in FULL:
        kind, cause, remedy = DiskFullError, "the disk or the quota is full", f"Free space there, {again}"
    elif number == errno.EROFS:
        kind, cause, remedy = AccessDeniedError, "read-only file system", "Mount it writable, or choose another place."
    elif http_status(error)[1] in _EXPIRED_CODES:
        kind, cause = CredentialsError, f"the credentials have expired ({_described(error)})"
        remedy = f"Renew key, secret and token of this side ({_SIDES}), {again}"
    elif is_denied(error):
        kind = CredentialsError if is_credentials(error) else AccessDeniedError
        cause, remedy = f"access denied ({_described(error)})", _denied_remedy(uri)
    elif is_transient(error):
        cause = f"the storage did not answer properly, however often asked ({_described(error)})"
        remedy = f"Check the endpoint, the network and the storage's health, {again}"
    else:
        place = "" if scheme(uri) in LOCAL else " and the storage options (endpoint_url, region, options)"
        cause, remedy = _described(error), f"Check the path{place}."
    return kind, cause, remedy


def _denied_remedy(uri: str) -> str:
    if scheme(uri) in LOCAL:
        return "Check the owner and the permissions of the file and of its folder."
    return (
        f"Check key, secret, token, profile and role of this side ({_SIDES}), that they have not expired, and the "
        "bucket's policy; without s3:ListBucket, S3 says this of missing objects too."
    )


def _described(error: Exception) -> str:
    status, code = http_status(error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    numbered = f"HTTP {status} " if status else ""
    return f"{numbered}{code if not code.isdigit() else ''} {type(error).__name__}: {text}".strip()


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text on one line of at most 500 characters, without the secrets and without any URL's user part and query."""
    text = redact_text(text)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:  # a shorter one would tear every word that has its letters
            text = text.replace(secret, "***")
    return " ".join(text.split())[:500]


def secrets_within(options: dict[str, Any], *, all_of_it: bool = False) -> list[str]:
    """The strings within a backend's free options whose name, or a name above them, sounds secret."""
    found: list[str] = []
    for name, value in options.items():
        secret = all_of_it or _SECRET_NAME.search(str(name)) is not None
        if isinstance(value, dict):
            found += secrets_within(value, all_of_it=secret)
        elif secret and isinstance(value, str):
            found += sorted({value, *value.split()})  # of "Bearer abc", the server may repeat the second word
    return found


def pause(attempt: int) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0): 0.2, 0.4, 0.8 ... 20, up to half of it less.

    The random part keeps a thousand workers from coming back in step.
    """
    return min(LONGEST_PAUSE, 0.2 * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1.0)


def with_retries(call: Callable[[], T], retries: int, deadline: float | None = None) -> T:
    """`call()`, repeated at most `retries` times while its errors are transient and `deadline` (monotonic) is ahead."""
    attempt = 0
    while True:
        try:
            return call()
        except Exception as error:
            wait = pause(attempt)
            late = deadline is not None and time.monotonic() + wait > deadline
            if attempt >= retries or late or not is_transient(error):
                raise
        time.sleep(wait)
        attempt += 1
