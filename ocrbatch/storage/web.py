"""The http(s) client, which reaches no private network unless it is told to.

Invariant: no connection is opened to an address that isn't the public internet's, unless `http_hosts` lists the host
itself; and a redirect leads to the host that it came from, or to one that the list allows. The address that is looked
at is the very one that is connected to, so a name that changes its address in between gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ocrbatch.storage.faults import RefusedHostError
from ocrbatch.storage.hosts import KEY, host_of, is_address, is_allowed, is_listed, is_public

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


async def session(*, hosts: Sequence[str], loop: Any = None, **options: Any) -> aiohttp.ClientSession:
    """A client that keeps to `hosts`, made as fsspec asks for one. loop: the one that this runs in."""
    connector = aiohttp.TCPConnector(resolver=_Resolver(hosts))
    return aiohttp.ClientSession(connector=connector, middlewares=(partial(_checked, hosts),), **options)


class _Resolver(AbstractResolver):
    """The system's resolver, whose answers are refused where one of them is not public."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts, self._resolver = hosts, aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of a name. Raises RefusedHostError, OSError."""
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            _require_public(host, result["host"], self._hosts)
        return found

    async def close(self) -> None:
        """Lets go of the system's."""
        await self._resolver.close()


async def _checked(
    hosts: Sequence[str], request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Around each request, redirected ones too: looks at addresses in URLs, which nobody resolves, and at redirects."""
    host = host_of(str(request.url)) or ""
    if is_address(host):
        _require_public(host, host, hosts)
    response = await handler(request)
    target = response.headers.get("Location") or response.headers.get("URI")  # aiohttp follows either
    if response.status in _REDIRECTS and target is not None:
        other = host_of(str(request.url.join(type(request.url)(target))))
        if other != host and not is_allowed(other or "", hosts):
            response.close()
            raise RefusedHostError(f"{host} redirects to the host {other}, which {KEY} does not allow")
    return response


def _require_public(host: str, address: str, hosts: Sequence[str]) -> None:
    if not is_listed(host, hosts) and not is_public(address):
        where = "" if host == address else f" has the address {address}, which"
        raise RefusedHostError(f"the host {host}{where} is not public, and {KEY} does not list it as it is")
