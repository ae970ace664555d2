"""What a configuration means to the parts of a server: their limits, rules and certificates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jabberd.config import ComponentConfig, Config, StartError
from jabberd.config import Limits as LimitsConfig
from jabberd.core.clients import ClientRules
from jabberd.edge.sm import Bounds
from jabberd.net.certs import make_self_signed
from jabberd.net.clock import Clock
from jabberd.net.tls import TlsContexts
from jabberd.net.tls_config import HostTls, TlsConfig, TlsConfigError
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.payload.privilege import Privileges
from jabberd.xmpp.sasl import anonymous, external
from jabberd.xmpp.sasl.offer import Policy as SaslPolicy


def session_bounds(config: Config) -> Bounds:
    """How long a session waits for its client, and what it may keep meanwhile (XEP-0198)."""
    sessions = config.sessions
    return Bounds(
        sessions.resume_seconds, sessions.unacknowledged_stanzas, sessions.unacknowledged_bytes
    )


def client_rules(config: Config) -> ClientRules:
    """What is remembered of an account's clients, and for how long."""
    clients, day = config.clients, 86_400.0
    return ClientRules(
        clients.token_days * day, clients.keep_days * day, clients.details, clients.per_account
    )


def privileges(component: ComponentConfig) -> Privileges:
    """What an external component may do for users (XEP-0356)."""
    given = component.privileges
    return Privileges(given.roster, given.message, given.presence, dict(given.iq))


def stream_limits(limits: LimitsConfig) -> tuple[Limits, Limits]:
    """The limits of a client's stream before and after login."""
    after = Limits(
        stanza_bytes=limits.stanza_bytes,
        depth=limits.depth,
        elements=limits.elements,
        attributes=limits.attributes,
        declarations=limits.declarations,
        name_bytes=limits.name_bytes,
    )
    before = replace(after, stanza_bytes=limits.stanza_bytes_before_login)
    return before, after


def sasl_policy(config: Config, name: str, decoys: bytes) -> SaslPolicy:
    """How users of a host may log in.

    Args:
        config: of the server.
        name: of the host.
        decoys: a key for the salts of accounts that do not exist.
    """
    host = config.host[name]
    enabled: tuple[str, ...] = host.mechanisms
    if host.client_ca is not None:
        enabled = (external.NAME, *enabled)
    if host.anonymous:
        enabled = (*enabled, anonymous.NAME)
    return SaslPolicy(name, decoys, config.passwords.iterations, enabled)


def certificates(config: Config, clock: Clock) -> TlsContexts:
    """The certificates of all hosts; one that has none gets a self-signed one.

    Raises:
        StartError: one cannot be written, read or used.
    """
    folder = config.data / "certificates"
    for name, host in config.host.items():
        certificate, key = _own_certificate(folder, name)
        if host.certificate is None and not (certificate.exists() and key.exists()):
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                make_self_signed([name], certificate, key, now=clock.now())
            except OSError as error:
                raise StartError(f"cannot write {certificate}: {error.strerror}") from None
    try:
        return TlsContexts(tls_config(config))
    except TlsConfigError as error:
        raise StartError(str(error)) from None


def tls_config(config: Config) -> TlsConfig:
    """Where the certificates and keys of all hosts are."""
    folder = config.data / "certificates"
    hosts: list[HostTls] = []
    for name, host in config.host.items():
        certificate, key = host.certificate, host.key
        if certificate is None:
            certificate, key = _own_certificate(folder, name)
        hosts.append(HostTls((name,), certificate, key, host.client_ca))
    return TlsConfig(tuple(hosts), next(iter(config.host)))


def _own_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    # A domain is no path: IPv6 literals have colons, and nothing else is unusual in one.
    stem = name.replace(":", "_").strip("[]")
    return folder / f"{stem}.crt", folder / f"{stem}.key"
