"""Which servers take mail for a domain: its MX records (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import random
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.resolver

from jabberd.gateways.events import Trouble
from jabberd.gateways.transport import Lost, NotDone

_PATIENCE: Final = 30.0
_MOST: Final = 5


class Exchanges:
    """Looks them up.

    Args:
        resolver: asks; None for one with the system's settings.
        patience: seconds that it may take.
    """

    def __init__(
        self, resolver: dns.asyncresolver.Resolver | None = None, *, patience: float = _PATIENCE
    ) -> None:
        self._resolver = resolver
        self._patience = patience

    async def of(self, domain: str) -> list[str]:
        """Host names, those to be tried first in front; at most five.

        Args:
            domain: in A-labels.

        Raises:
            NotDone: there is no such domain, or it takes no mail.
            Lost: nobody knows at the moment.
        """
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
            answer = await self._resolver.resolve(
                domain, dns.rdatatype.MX, lifetime=self._patience, search=False
            )
        except dns.resolver.NXDOMAIN:
            raise NotDone(Trouble.NO_SUCH_SERVER, f"there is no domain {domain}") from None
        except dns.resolver.NoAnswer:
            return [domain]  # the domain itself then (§5.1)
        except dns.exception.DNSException as error:
            raise Lost(f"the mail server of {domain} cannot be looked up: {error}") from None
        found = [
            (record.preference, random.random(), record.exchange.to_text(omit_final_dot=True))  # noqa: S311 -- to share the load
            for record in answer
            if isinstance(record, dns.rdtypes.ANY.MX.MX)
        ]
        hosts = [host for _, _, host in sorted(found)]
        if hosts in ([""], ["."], ["@"]):
            raise NotDone(Trouble.NO_SUCH_SERVER, f"{domain} takes no mail")
        return hosts[:_MOST]
