"""What the configuration file may say: one dataclass per table; its fields are the keys.

The docstrings are the manual: `docs/config.md` is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from jabberd.config.federation import Federation, PeerConfig, Proof
from jabberd.config.gateway import GatewayConfig, NetworkChoice
from jabberd.config.texts import (
    HttpsUrl,
    PathText,
    Positive,
    RouteText,
    check_network,
    parse_address,
)
from jabberd.core.module import Host, Module

Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
SECRET: Final[Mapping[str, bool]] = {"secret": True}
"""Metadata of a field that is never shown."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on; `"127.0.0.1:5222"` is short for `{ address = "127.0.0.1:5222" }`.

    Attributes:
        address: an IP address and a port, for example "[::]:5222" for every interface, by
            IPv4 as well (where a list names an IPv4 address with the same port too, `[::]` is for
            IPv6); port 0 takes a free one.
        legacy_auth: allow the login of clients from before XMPP 1.0 (XEP-0078), which sends the
            password as it is. Unless given, only where both ends are loopback addresses and
            no PROXY header was used.
        starttls_required: refuse to log in without TLS. Unless given, only where one of the
            ends is not a loopback address. For other servers, TLS is required unless this is
            false.
        proxy: addresses or networks of proxies that send a PROXY protocol header; from them
            it is required, from others it is refused. For HTTP, proxies whose X-Forwarded-For
            and X-Forwarded-Proto are believed; those of others are not looked at.
    """

    address: str
    legacy_auth: bool | None = None
    starttls_required: bool | None = None
    proxy: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_address(self.address)
        for network in self.proxy:
            check_network(network)

    @property
    def host(self) -> str:
        """The IP address."""
        return parse_address(self.address)[0]

    @property
    def port(self) -> int:
        """The port, 0 for a free one."""
        return parse_address(self.address)[1]


LISTENERS: Final = ("c2s", "c2s_tls", "component", "s2s", "s2s_tls", "http", "https")
"""The keys of `Listen`."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server listens; each key takes a list of addresses.

    Attributes:
        c2s: for clients, with STARTTLS.
        c2s_tls: for clients, with TLS from the first byte (XEP-0368).
        component: for external components (XEP-0114), in plain text: keep it on loopback
            addresses or a private network.
        s2s: for other servers, with STARTTLS, usually "[::]:5269". Where neither this nor
            s2s_tls is given, this server talks to no others.
        s2s_tls: for other servers, with TLS from the first byte (XEP-0368).
        http: for HTTP in plain text: keep it on loopback addresses, for a proxy that has TLS.
        https: for HTTP with TLS and the hosts' certificates.
    """

    c2s: tuple[Listener, ...] = (Listener("127.0.0.1:5222"), Listener("[::1]:5222"))
    c2s_tls: tuple[Listener, ...] = (Listener("127.0.0.1:5223"), Listener("[::1]:5223"))
    component: tuple[Listener, ...] = ()
    s2s: tuple[Listener, ...] = ()
    s2s_tls: tuple[Listener, ...] = ()
    http: tuple[Listener, ...] = (Listener("127.0.0.1:5280"), Listener("[::1]:5280"))
    https: tuple[Listener, ...] = (Listener("127.0.0.1:5443"), Listener("[::1]:5443"))

    def __post_init__(self) -> None:
        # [::] takes what is left of its port, so explicit IPv4 addresses of the port go first.
        for kind in LISTENERS:
            listeners = sorted(getattr(self, kind), key=lambda listener: listener.host == "::")
            object.__setattr__(self, kind, tuple(listeners))


@dataclass(frozen=True, slots=True)
class Http:
    """What is served by HTTP: files that users upload (XEP-0363).

    Attributes:
        url: what its public URLs begin with, as "https://chat.example.org"; a proxy or a name of
            its own makes it necessary. Unless given, the host's domain with the port of the
            first address in `listen.https`.
        bytes_per_second: how fast one connection may send; beyond that, it is read more slowly.
    """

    url: HttpsUrl = ""
    bytes_per_second: Annotated[int, Field(ge=65_536)] = 10_485_760


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers and users may use up. All of it can be changed by a reload.

    Attributes:
        connections: open connections in all.
        connections_per_address: open connections per IPv4 address or IPv6 /64.
        login_seconds: how long a connection may take to log in.
        login_attempts: failed logins per account and address, before they have to wait.
        login_attempts_per_address: failed logins per IPv4 address or IPv6 /64, whatever the
            account, before they have to wait.
        stanza_bytes_before_login: size of one element of a stream that has not logged in yet.
        stanza_bytes: size of one element of a stream; advertised (XEP-0478).
        depth: how deep elements may be nested in a stanza.
        elements: how many elements a stanza may have inside, at all levels.
        attributes: how many attributes one element may have.
        declarations: how many namespace declarations a stanza may have inside.
        name_bytes: length of one name together with its namespace.
        bytes_per_second: how fast a client may send; beyond that, it is read more slowly.
        burst_bytes: how much a client may send at once after a rest.
        output_bytes: how much may wait for a client that does not read before it is
            disconnected.
    """

    connections: Positive = 20_000
    connections_per_address: Positive = 200
    login_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    login_attempts: Positive = 5
    login_attempts_per_address: Positive = 50
    stanza_bytes_before_login: Annotated[int, Field(ge=4096)] = 10_000
    stanza_bytes: Annotated[int, Field(ge=10_000)] = 262_144
    depth: Annotated[int, Field(ge=8, le=1000)] = 64
    elements: Annotated[int, Field(ge=100)] = 10_000
    attributes: Annotated[int, Field(ge=16)] = 64
    declarations: Annotated[int, Field(ge=16)] = 1_000
    name_bytes: Annotated[int, Field(ge=128)] = 1_024
    bytes_per_second: Annotated[int, Field(ge=1024)] = 1_048_576
    burst_bytes: Annotated[int, Field(ge=10_000)] = 2_097_152
    output_bytes: Annotated[int, Field(ge=65_536)] = 4_194_304

    def __post_init__(self) -> None:
        if self.stanza_bytes_before_login > self.stanza_bytes:
            raise ValueError("stanza_bytes_before_login is at most stanza_bytes")
        if self.connections_per_address > self.connections:
            raise ValueError("connections_per_address is at most connections")


@dataclass(frozen=True, slots=True)
class Sessions:
    """How long the server waits for clients whose connection broke (XEP-0198).

    Attributes:
        resume_seconds: how long a session waits for its client to come back, at most; 0: no
            session can be resumed.
        unacknowledged_stanzas: how many stanzas one session may have on the way to its client;
            beyond that it ends, and messages wait in the account's log.
        unacknowledged_bytes: how large these stanzas may be together.
        acknowledge_seconds: how long a client may leave a request for an acknowledgement
            unanswered before its connection counts as broken.
        location: where clients are to reconnect to, as "host:port"; empty: where they were.
    """

    resume_seconds: Annotated[int, Field(ge=0, le=604_800)] = 600
    unacknowledged_stanzas: Annotated[int, Field(ge=100)] = 5_000
    unacknowledged_bytes: Annotated[int, Field(ge=1_048_576)] = 2_097_152
    acknowledge_seconds: Annotated[int, Field(ge=5, le=3_600)] = 60
    location: str = ""


@dataclass(frozen=True, slots=True)
class Clients:
    """What is remembered of clients that log in by SASL2 (XEP-0388), for the account's owner.

    All of it can be changed by a reload.

    Attributes:
        token_days: how long a token is good that a client logs in with instead of the password
            (XEP-0484); one that is used gets a successor in the second half of that time.
            0: there are no tokens.
        keep_days: how long a client is remembered that does not come back. 0: those without a
            token are not.
        details: remember also which software and which device a client says it is.
        per_account: how many clients of one account are remembered.
    """

    token_days: Annotated[int, Field(ge=0, le=365)] = 30
    keep_days: Annotated[int, Field(ge=0, le=3650)] = 90
    details: bool = True
    per_account: Annotated[int, Field(ge=1, le=1000)] = 50


@dataclass(frozen=True, slots=True)
class Log:
    """What is logged, to standard error. The level can be changed by a reload.

    Attributes:
        level: the least severe events that are written.
        format: "console" for people, "json" for machines; "auto" is "console" on a terminal.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


@dataclass(frozen=True, slots=True)
class Passwords:
    """How passwords are kept: as SCRAM keys, never as they are.

    Attributes:
        iterations: of PBKDF2, for keys made from now on; clients have to do as many.
    """

    iterations: Annotated[int, Field(ge=10_000, le=10_000_000)] = 10_000


@dataclass(frozen=True, slots=True)
class Journal:
    """What `jabberd trace` remembers.

    Attributes:
        keep: stanzas per account, heads only.
    """

    keep: Annotated[int, Field(ge=1, le=10_000)] = 50


@dataclass(frozen=True, slots=True)
class ModuleChoice:
    """One module of one host, ready to be loaded.

    Attributes:
        name: in the configuration.
        options: an instance of the module's `Options`.
        load: the module's `load`.
    """

    name: str
    options: Any
    load: Callable[[Host, Any], Module] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One host that this server is; the table's name is its domain.

    Attributes:
        certificate: PEM file with the certificate and its chain; a self-signed one is made in
            the data folder unless given. A reload reads it again.
        key: PEM file with the private key; unless given, it is in `certificate`.
        client_ca: PEM file with the authorities whose client certificates may log in
            (SASL EXTERNAL); certificates are requested only where this is given.
        mechanisms: SASL mechanisms with passwords; those with channel binding (-PLUS) are
            offered along with their plain form. PLAIN is offered under TLS only.
        anonymous: offer SASL ANONYMOUS: a throwaway account for whoever asks.
        sasl2: offer logins by SASL2 under TLS as well (XEP-0388), by which a client needs fewer
            round trips, can have tokens, and can be told from the account's other clients.
        federation: how other servers must prove who they are to this host, in place of
            `federation.policy`; "off": it does not talk to others. Where the other server's `peer`
            table says something as well, the stricter of both holds. Components below this domain
            go by it too.
        modules: options per module; `false` switches a module off, `true` or `{}` takes its
            defaults. A module from elsewhere names its Python module:
            `{ module = "package.name", … }`.
    """

    certificate: PathText | None = None
    key: PathText | None = None
    client_ca: PathText | None = None
    mechanisms: tuple[Mechanism, ...] = (
        "SCRAM-SHA-512",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
        "PLAIN",
    )
    anonymous: bool = False
    sasl2: bool = True
    federation: Proof | None = None
    modules: tuple[ModuleChoice, ...] = ()

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ValueError("key without certificate")
        if not self.mechanisms and self.client_ca is None and not self.anonymous:
            raise ValueError("no mechanisms, no client_ca and no anonymous: nobody could log in")


Asking = Literal["get", "set", "both"]


@dataclass(frozen=True, slots=True)
class PrivilegesConfig:
    """What a component may do for users of the host that it belongs to (XEP-0356).

    Attributes:
        roster: read ("get") or write ("set") their contact lists, subscriptions included, or both.
        message: send messages in their name.
        presence: see their presence, or ("roster") that of their contacts as well.
        iq: requests that it may make in their name, by namespace.
    """

    roster: Literal["none", "get", "set", "both"] = "none"
    message: Literal["none", "outgoing"] = "none"
    presence: Literal["none", "managed_entity", "roster"] = "none"
    iq: Mapping[str, Asking] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.presence == "roster" and self.roster not in {"get", "both"}:
            raise ValueError('presence = "roster" is for those who may read rosters')


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """One external component (XEP-0114); the table's name is its domain.

    Exactly one of the first three says the secret that it shows when it connects.

    Attributes:
        secret: the secret itself.
        secret_file: a file that has it.
        secret_env: an environment variable that has it.
        queue_seconds: how long a message waits for a component with stream management (XEP-0198)
            that is not connected, before its sender gets it back. Messages for a component
            without do not wait.
        privileges: what it may do for users (XEP-0356); nothing unless given.
    """

    secret: str = field(default="", repr=False, metadata=SECRET)
    secret_file: PathText | None = None
    secret_env: str = ""
    queue_seconds: Annotated[int, Field(ge=10, le=604_800)] = 300
    privileges: PrivilegesConfig = field(default_factory=PrivilegesConfig)

    def __post_init__(self) -> None:
        given = [bool(self.secret), self.secret_file is not None, bool(self.secret_env)]
        if sum(given) != 1:
            raise ValueError("expected exactly one of secret, secret_file and secret_env")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration came from, so that it can be read again and explained.

    Attributes:
        file: the TOML file; None where there was none.
        data: the data folder given on the command line.
        values: what a program gave, in the shape of the file.
        origins: for each key that was given, where.
    """

    file: Path | None = None
    data: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[tuple[str, ...], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    Attributes:
        data: the data folder, made if it does not exist; the user's own data folder unless
            given here, by `--data` or by JABBERD_DATA.
        storage: "sqlite:" is a file in the data folder, "memory:" forgets everything at the
            end; or a "postgresql://user@host/database" URL.
        storage_file: a file that has the value of `storage`, for a URL with a password.
        durability: what an acknowledged message survives. "power": a power cut as well as the end
            of the process, since it is on the disk. "process": only the end of the process; it
            is faster, and the last moments before a power cut may be lost.
        listen: where the server listens.
        http: what is served by HTTP.
        limits: what strangers and users may use up.
        sessions: how long the server waits for clients whose connection broke.
        clients: what is remembered of clients, and their tokens.
        log: what is logged.
        passwords: how passwords are kept.
        journal: what `jabberd trace` remembers.
        host: the hosts that this server is; "localhost" unless any is given.
        component: the external components that may connect.
        gateway: gateways to foreign networks.
        federation: other servers; `false` for none.
        peer: what is special about single ones.
        route: where other servers are, by their domain, instead of what the DNS says:
            "10.0.0.5:5269", or "tls:10.0.0.5:5270" for TLS from the first byte. Can be changed by
            a reload.
        networks: the networks of the gateways, by their domains.
        source: where all this came from.
    """

    data: PathText
    storage: str = "sqlite:"
    storage_file: PathText | None = None
    durability: Literal["power", "process"] = "power"
    listen: Listen = Listen()
    http: Http = Http()
    limits: Limits = Limits()
    sessions: Sessions = Sessions()
    clients: Clients = Clients()
    log: Log = Log()
    passwords: Passwords = Passwords()
    journal: Journal = Journal()
    host: Mapping[str, HostConfig] = field(default_factory=lambda: {"localhost": HostConfig()})
    component: Mapping[str, ComponentConfig] = field(default_factory=dict)
    gateway: Mapping[str, GatewayConfig] = field(default_factory=dict)
    federation: Federation = field(default_factory=Federation)
    peer: Mapping[str, PeerConfig] = field(default_factory=dict)
    route: Mapping[str, RouteText] = field(default_factory=dict)
    networks: Mapping[str, NetworkChoice] = field(default_factory=dict)
    source: Source = field(default=Source(), compare=False)

    def __post_init__(self) -> None:
        if not self.storage.startswith(("sqlite:", "memory", "postgresql:", "postgresql+")):
            raise ValueError('storage is "sqlite:", "memory:" or a "postgresql://" URL')
        if not self.host:
            raise ValueError("expected at least one host")

    @property
    def federates(self) -> bool:
        """Whether this server talks to others."""
        if self.federation.enabled is not None:
            return self.federation.enabled
        return bool(self.listen.s2s or self.listen.s2s_tls)
