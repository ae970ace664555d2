"""What the DNS says of services, for those who want to see it as it stands there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dns.rdtypes.IN.SRV

from .certs import a_label
from .dns import DnsError, DnsProblem, Resolver


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record (RFC 2782).

    Attributes:
        host: a name in A-labels; empty: there is no such service.
        port: the TCP port.
        priority: smaller ones are tried first.
    """

    host: str
    port: int
    priority: int


class Records(Resolver):
    """A resolver that shows records of any service, and not only where to connect to."""

    async def services(self, service: str, domain: str) -> Sequence[Service]:
        """The SRV records of a service, the ones tried first in front.

        Args:
            service: for example "_xmpp-client".
            domain: whose.

        Raises:
            DnsError: the DNS does not answer.
        """
        name = f"{service}._tcp.{a_label(domain)}"
        answer = await self._ask(name, "SRV")
        if answer.failed:
            raise DnsError(DnsProblem.FAILED, f"the DNS does not answer about {name}")
        found = [
            Service(
                record.target.to_text(omit_final_dot=True).lower().removesuffix("."),
                record.port,
                record.priority,
            )
            for record in answer.records
            if isinstance(record, dns.rdtypes.IN.SRV.SRV)
        ]
        return sorted(found, key=lambda one: (one.priority, one.host, one.port))
