"""Hosts of http(s) URLs: which a list allows, and which addresses are the public internet's. Pure.

Invariant: what is not plainly a host is allowed by no pattern.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

from ocrbatch.storage.uris import HTTP, scheme

KEY: Final = "input.storage.http_hosts"
_PLAIN: Final = re.compile(r"[\w.:-]+")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def host_of(uri: str) -> str | None:
    """The host of an http(s) URL in lower case, IPv6 without brackets, "" where it has none; None for any other URI."""
    if scheme(uri) not in HTTP:
        return None
    try:
        return (urlsplit(uri).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_allowed(host: str, hosts: Sequence[str]) -> bool:
    """Whether one of the patterns is the host's: `*.example.org` every host's below that one, `*` every host's."""
    return _PLAIN.fullmatch(host) is not None and any(fnmatchcase(host, pattern.lower()) for pattern in hosts)


def is_listed(host: str, hosts: Sequence[str]) -> bool:
    """Whether the host itself stands in the list, and not just a pattern that fits it."""
    return host in {name.lower() for name in hosts}


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's; IPv4 that is written as IPv6 counts as what it is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def is_address(host: str) -> bool:
    """Whether a host is given as an IP address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
