"""What the configuration file may say about other servers; see `config.shape`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jabberd.config.texts import Domains, Nameserver, Network, PathText, Positive

Proof = Literal["required", "dialback", "off"]
"""How another server must prove who it is; "off": nothing that it could prove would do."""


@dataclass(frozen=True, slots=True)
class Federation:
    """Other servers. `federation = false` is short for a table with `enabled = false`.

    All of it but `enabled`, `authorities`, `nameservers`, `trusted_dns`, `networks` and
    `verifications` can be changed by a reload.

    Attributes:
        enabled: whether this server talks to others; where it does not, `listen.s2s` and
            `listen.s2s_tls` are not opened. Unless given, it does where one of these is set.
        policy: how servers must prove who they are, unless their `peer` table or the host says
            otherwise. "required": by a certificate that an authority has signed. "dialback": where
            they have none, it is enough that a connection to their domain, as the DNS leads
            there, confirms it (XEP-0220). A certificate of an authority must be right in any
            case.
        allow: domains of the servers that this one talks to; "*.example.net" stands for all below
            example.net, and not for example.net itself. Empty: all.
        deny: domains of servers that this one does not talk to, in the same form, whatever
            `allow` says.
        authorities: PEM file with the authorities that other servers' certificates are checked
            against; those of the system unless given.
        nameservers: addresses, as "127.0.0.1", "127.0.0.1:5353" or "[::1]:5353", of the DNS servers
            that are asked; those of the system unless given.
        trusted_dns: the nameservers check DNSSEC, and nobody can come between them and this
            server: TLSA records in signed zones may then stand for an authority (DANE).
        networks: private networks, or single addresses, that the DNS may lead to. Other addresses
            that are private or of this machine are not connected to.
        queue_seconds: how long a message waits for a server that cannot be reached before its
            sender gets it back.
        queue_bytes: how much may wait for one domain, from each of ours.
        idle_seconds: how long a stream may be without traffic before it is closed.
        stanza_bytes: size of one element of a stream between servers; advertised (XEP-0478).
        bytes_per_second: how fast one connection of another server may send; beyond that, it is
            read more slowly.
        burst_bytes: how much it may send at once after a rest.
        verifications: how many domains may be looked up and connected to at the same time because
            strangers claim to be them.
    """

    enabled: bool | None = None
    policy: Literal["required", "dialback"] = "dialback"
    allow: tuple[Domains, ...] = ()
    deny: tuple[Domains, ...] = ()
    authorities: PathText | None = None
    nameservers: tuple[Nameserver, ...] = ()
    trusted_dns: bool = False
    networks: tuple[Network, ...] = ()
    queue_seconds: Annotated[int, Field(ge=10, le=604_800)] = 600
    queue_bytes: Annotated[int, Field(ge=262_144)] = 4_194_304
    idle_seconds: Annotated[int, Field(ge=10)] = 600
    stanza_bytes: Annotated[int, Field(ge=10_000)] = 524_288
    bytes_per_second: Annotated[int, Field(ge=10_240)] = 4_194_304
    burst_bytes: Annotated[int, Field(ge=65_536)] = 8_388_608
    verifications: Positive = 200


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One other server; the table's name is its domain. Can be changed by a reload.

    Attributes:
        policy: as `federation.policy`, which it takes the place of; "off": this server does not
            talk to it. Where the host says something as well, the stricter of both holds.
        plain: it has no TLS, and is talked to without: whoever is on the way can read and change
            everything. For what it sends, an address in `listen.s2s` needs
            `starttls_required = false` as well.
    """

    policy: Proof | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        if self.plain and self.policy == "required":
            raise ValueError('plain with policy = "required": without TLS there is no certificate')
