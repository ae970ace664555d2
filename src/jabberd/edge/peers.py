"""Who may talk to whom between servers, and how they must prove who they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum

_BELOW = "*."


class Policy(IntEnum):
    """How the two servers of a pair must prove themselves; the greater one is the stricter."""

    DIALBACK = 0
    """By a certificate, or by dialback where there is none that an authority has signed."""
    REQUIRED = 1
    """By a valid certificate."""
    OFF = 2
    """They do not talk to each other."""


class Domains:
    """A list of domains, as an operator writes it.

    Args:
        names: domains; "*.example.net" stands for all that are below example.net.
    """

    def __init__(self, names: Iterable[str]) -> None:
        listed = tuple(names)
        self._exact = frozenset(name for name in listed if not name.startswith(_BELOW))
        self._below = frozenset(
            name.removeprefix(_BELOW) for name in listed if name.startswith(_BELOW)
        )

    def __bool__(self) -> bool:
        """Whether anything is listed."""
        return bool(self._exact or self._below)

    def __contains__(self, domain: str) -> bool:
        """Whether a domain is listed."""
        if domain in self._exact:
            return True
        while "." in domain and self._below:
            domain = domain.partition(".")[2]
            if domain in self._below:
                return True
        return False


class Peers:
    """The operator's rules; replaced as one at a reload.

    Args:
        enabled: whether this server talks to others at all.
        policy: where neither host nor peer has one of its own.
        hosts: by our own domain, those that have one; components have that of the nearest domain
            above them.
        peers: by the domain of the other server, those that have one.
        allow: not empty: only these.
        deny: these not, whatever else is said.
        plain: servers that have no TLS, and need none.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        policy: Policy = Policy.DIALBACK,
        hosts: Mapping[str, Policy] | None = None,
        peers: Mapping[str, Policy] | None = None,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
        plain: Collection[str] = (),
    ) -> None:
        self.enabled = enabled
        self._policy = policy
        self._hosts = dict(hosts or {})
        self._peers = dict(peers or {})
        self._allow = Domains(allow)
        self._deny = Domains(deny)
        self._plain = frozenset(plain)

    def policy(self, local: str, remote: str) -> Policy:
        """What a pair of domains is bound to: the stricter one of what host and peer want."""
        if self.why_not(local, remote):
            return Policy.OFF
        wanted = (self._of_host(local), self._peers.get(remote))
        return max((one for one in wanted if one is not None), default=self._policy)

    def why_not(self, local: str, remote: str) -> str:
        """Why two domains do not talk to each other, in plain words; empty where they do."""
        if not self.enabled:
            return f"{remote} is not served here, and this server talks to no others"
        if remote in self._deny:
            return f"{remote} is on the list of servers that this server does not talk to"
        if self._allow and remote not in self._allow:
            return f"{remote} is not on the list of servers that this server talks to"
        if self._of_host(local) is Policy.OFF:
            return f"{local} does not talk to other servers"
        if self._peers.get(remote) is Policy.OFF:
            return f"this server does not talk to {remote}"
        return ""

    def tls_required(self, remote: str) -> bool:
        """Whether nothing is said to a server without TLS."""
        return remote not in self._plain

    def _of_host(self, local: str) -> Policy | None:
        """What one of our domains wants, or the nearest host above it; None: nothing special."""
        while local:
            found = self._hosts.get(local)
            if found is not None:
                return found
            local = local.partition(".")[2]
        return None
