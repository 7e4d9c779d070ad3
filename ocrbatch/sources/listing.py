"""Files, folders, globs and archives as documents.

Invariant: nothing that was asked for is silently absent. A URI that names nothing ends the run with its name; an
archive that can't be read is one document (its own URI, which becomes a failure when it is fetched); a document that
two URIs lead to comes once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from ocrbatch.config import InputConfig
from ocrbatch.errors import AccessDeniedError, CredentialsError, DocumentError, NotFoundError, UsageError
from ocrbatch.records import Document
from ocrbatch.sources import archives, members
from ocrbatch.sources.patterns import Filter, compile_glob, split_glob
from ocrbatch.storage import Entry, Storage, local_path, redact, scheme
from ocrbatch.storage.uris import HTTP, has_magic, local_uri, without_credentials

_CHECK = "Check the spelling; a folder in a bucket exists only as long as something is in it."


@dataclass(frozen=True, slots=True)
class _Place:
    """One given URI. uri: what to list; root: where paths count from; member: what to take of archives, or None."""

    given: str
    uri: str
    root: str
    is_glob: bool
    member: str | None


def documents(config: InputConfig, storage: Storage) -> Generator[Document]:
    """The documents that `config.uris` name, in the order given, each folder's as the storage lists it; a generator.

    A URI is a file, a folder (all below it), an archive, a member of an archive (`a.zip!/b.png`), or a glob, which
    stands for the files and folders that a shell would put in its place (`**` for any number of folders; names with a
    dot in front match too). A name that exists as it is written is no glob. For `include` and `exclude` see
    `patterns`; a path counts from the folder that was given, or from the first folder of a glob that is plain; of a
    single file it is the name. An empty folder on disk is no error, but an empty prefix of a bucket, which is as good
    as absent, is one.

    URIs of documents: absolute paths for files on this disk (links not resolved), `s3://bucket/key` and so on for
    others. Raises UsageError for a URI that names nothing, StorageError where listing fails.
    """
    if not config.uris:
        raise UsageError(
            "no input was given", "Name files, folders or buckets by --input, or a list by input.manifest."
        )
    places = [_place(uri, storage) for uri in config.uris]
    keep = Filter.of(config.include, config.exclude)
    found = (d for place in places for d in _below(place, config, storage, keep))
    return once(found) if _overlap(places) else found


def once(found: Iterable[Document]) -> Generator[Document]:
    """The documents without those whose URI came before."""
    seen: set[str] = set()
    for document in found:
        if document.uri not in seen:
            seen.add(document.uri)
            yield document


def absolute(uri: str, storage: Storage) -> str:
    """The URI as rows carry it: the absolute path of what is on this disk, links not resolved; any other as it is."""
    path = local_path(uri)
    return uri if path is None else local_uri(str(path))


def is_folder(uri: str, storage: Storage) -> bool:
    """Whether the URI names a folder of this disk, or says by its last slash that it means a folder."""
    path = local_path(uri)
    return uri.endswith("/") or (path is not None and path.is_dir())


def expand(entry: Entry, config: InputConfig, storage: Storage) -> Iterator[Document]:
    """One file as documents: itself, or its members where it is an archive.

    An archive that can't be read is given as itself.
    """
    uri = entry.uri
    itself = Document(uri, entry.etag, entry.size, entry.mtime)
    if not members.is_container(uri):
        yield itself
        return
    try:
        inside = archives.list_members(entry, storage, config.bytes_column)
    except CredentialsError:
        raise
    except (DocumentError, NotFoundError, AccessDeniedError):
        yield itself  # fetching meets the same error again and gives its code
        return
    for member in inside:
        yield Document(f"{uri}!/{member.name}", f"{entry.etag}-{member.place}", member.size, entry.mtime)


def refuse_secrets(uri: str, name: str = "the input") -> None:
    """Raises UsageError for what may hold credentials, as URIs are written down: a user part, a query of http, a
    presigned URL's query of any scheme.

    name: what the URI is, in the message's words.
    """
    # Elsewhere than in http a question mark is a glob's.
    if (redact(uri) if scheme(uri) in HTTP else without_credentials(uri)) != uri:
        raise UsageError(
            f"{name} {redact(uri)} has a query or a user part, which may hold credentials and would be written down",
            "Give a plain URL, and credentials by the storage section of that side, or by the environment.",
        )


def _place(given: str, storage: Storage) -> _Place:
    if not given.strip():
        raise UsageError("an input is empty", "Name a file, a folder or a bucket.")
    refuse_secrets(given)
    uri, member = members.split_member(given)
    path = local_path(uri)
    if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"the input {given} is a pipe, socket or device", "Name files or folders.")
    plain = uri if path is None else str(path)
    is_glob = has_magic(uri) and not (path.exists() if path is not None else storage.exists(uri))
    root = plain
    if is_glob:
        compile_glob(plain)  # storage takes it as it is, so a set that is none shows here
        root, _ = split_glob(plain)
    return _Place(given, uri, root.rstrip("/") + "/", is_glob, member)


def _overlap(places: list[_Place]) -> bool:
    """Whether two places can lead to one document; only then every URI must be remembered (some 150 bytes each)."""
    roots = sorted(p.root for p in places)
    # Sorted, whatever lies between a root and one below it starts with that root too, so neighbours are enough.
    return any(below.startswith(root) for root, below in pairwise(roots))


def _below(place: _Place, config: InputConfig, storage: Storage, keep: Filter) -> Iterator[Document]:
    any_file = any_match = False
    in_archive = _acceptance(place.member)
    try:
        for entry in storage.list(place.uri):
            any_file = True
            path = str(local_path(entry.uri) or entry.uri)
            relative = path.removeprefix(place.root) if path.startswith(place.root) else path.rsplit("/", 1)[-1]
            if keep.drops(relative):  # an archive that is left out needn't be opened
                any_match = True
                continue
            for document in expand(entry, config, storage):
                member = document.uri[len(entry.uri) :]
                if member and not in_archive(member.removeprefix("!/")):
                    continue
                any_match = True
                if keep.keeps(relative + member):
                    yield document
    except NotFoundError as error:
        raise UsageError(f"the input {redact(place.given)} does not exist", _CHECK) from error
    if place.member is not None and any_file and not any_match:
        raise UsageError(f"the input {redact(place.given)} matches no member", _CHECK)
    if not any_file and place.is_glob:
        raise UsageError(f"the input {redact(place.given)} matches no file", _CHECK)
    local = local_path(place.uri)
    if not any_file and (local is None or not local.is_dir()):
        raise UsageError(f"the input {redact(place.given)} does not exist", _CHECK)


def _acceptance(glob: str | None) -> Callable[[str], bool]:
    if glob is None:
        return lambda name: True
    pattern = compile_glob(glob)
    # A name may hold brackets of its own.
    return lambda name: name == glob or pattern.match(name) is not None
