"""Where another server is: by the operator's own table, or by DNS (RFC 6120 §3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jabberd.net.dns import Resolver, Target
from jabberd.net.trust import Tlsa


class Finder:
    """Both ways to find a server (`edge.servers.Finder`).

    Args:
        routes: places by domain, which DNS is not asked about; may be replaced at any time.
        resolver: DNS.
    """

    def __init__(self, routes: Mapping[str, Target], resolver: Resolver) -> None:
        self.routes = routes
        self._resolver = resolver

    async def targets(self, domain: str) -> Sequence[Target]:
        """Places to connect to, in the order of trying.

        Raises:
            DnsError: there are none.
        """
        route = self.routes.get(domain)
        if route is not None:
            return (route,)
        return await self._resolver.targets(domain)

    async def tlsa(self, target: Target) -> Sequence[Tlsa]:
        """What a signed zone says of the certificate at a place (RFC 7673)."""
        return await self._resolver.tlsa(target)
