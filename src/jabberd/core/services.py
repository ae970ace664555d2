"""Services beside the hosts, components and gateways: how hosts list them and what they may do."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from jabberd.core.host import LocalHost
from jabberd.core.ports import DiscoApi, PrivilegeApi
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.privilege import Privileges


class Services:
    """The services of this server.

    Args:
        hosts: by domain.
    """

    def __init__(self, hosts: Mapping[str, LocalHost]) -> None:
        self._hosts = hosts

    def grant(self, domain: str, privileges: Privileges | None) -> None:
        """Let a service act for users of its hosts (XEP-0356); modules must be loaded."""
        for host in self._of(domain):
            with contextlib.suppress(LookupError):  # the module is switched off
                host.require(PrivilegeApi).grant(domain, privileges)

    def came(self, domain: str) -> None:
        """A service is there: list it (XEP-0030), and tell it what it may do."""
        above = self._hosts.get(domain.partition(".")[2])
        if above is not None:
            with contextlib.suppress(LookupError):
                above.require(DiscoApi).add_item(JID.parse(domain), domain)
        for host in self._of(domain):
            with contextlib.suppress(LookupError):
                host.require(PrivilegeApi).advertise(domain)

    def went(self, domain: str) -> None:
        """A service is gone: list it no more."""
        above = self._hosts.get(domain.partition(".")[2])
        if above is not None:
            with contextlib.suppress(LookupError):
                above.require(DiscoApi).remove_item(JID.parse(domain))

    def _of(self, domain: str) -> list[LocalHost]:
        """The hosts that a service belongs to: the one above it, or all."""
        above = self._hosts.get(domain.partition(".")[2])
        return [above] if above is not None else list(self._hosts.values())
