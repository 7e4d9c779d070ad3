"""Object storage and disks behind one class; the only room that imports fsspec.

Invariants: nobody ever sees a half-written object; a create-if-absent has exactly one winner, who knows it even when
the reply was lost; a message never holds a credential or a signed query string. Disk and S3 are written, any fsspec
scheme is read.
"""

from ocrbatch.storage.hosts import host_of, is_allowed
from ocrbatch.storage.ranges import open_file
from ocrbatch.storage.store import Storage, require_version
from ocrbatch.storage.uris import Entry, glob_regex, is_writable, join, local_path, redact, scheme

__all__ = [
    "Entry",
    "Storage",
    "glob_regex",
    "host_of",
    "is_allowed",
    "is_writable",
    "join",
    "local_path",
    "open_file",
    "redact",
    "require_version",
    "scheme",
]
