"""What no single key can tell: files, secrets, and keys that contradict each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

from jabberd.config.gateway import GatewayConfig, NetworkChoice
from jabberd.config.shape import LISTENERS, ComponentConfig, Config, HostConfig

Found = tuple[tuple[str, ...], str]
"""A key and what is wrong with it."""
_MAX_SECRET: Final = 4096  # bytes


def absolute_paths(config: Config, base: Callable[[tuple[str, ...]], Path]) -> Config:
    """File names made absolute; `base` tells what the one of a key is relative to."""

    def fix(path: Path | None, *key: str) -> Path | None:
        if path is None:
            return None
        return Path(os.path.normpath(base(key) / path.expanduser()))

    def host(name: str, table: HostConfig) -> HostConfig:
        return replace(
            table,
            certificate=fix(table.certificate, "host", name, "certificate"),
            key=fix(table.key, "host", name, "key"),
            client_ca=fix(table.client_ca, "host", name, "client_ca"),
        )

    def component(name: str, table: ComponentConfig) -> ComponentConfig:
        return replace(table, secret_file=fix(table.secret_file, "component", name, "secret_file"))

    def gateway(name: str, table: GatewayConfig) -> GatewayConfig:
        return replace(table, secret_file=fix(table.secret_file, "gateway", name, "secret_file"))

    def network(name: str, choice: NetworkChoice) -> NetworkChoice:
        paths: dict[str, object] = {
            one.name: fix(value, "gateway", name, one.name)
            for one in fields(choice.options)
            if isinstance(value := getattr(choice.options, one.name), Path)
        }
        paths |= {
            one.name: str(fix(Path(value), "gateway", name, one.name))
            for one in fields(choice.options)
            if one.metadata.get("path") and (value := getattr(choice.options, one.name))
        }
        return replace(choice, options=replace(choice.options, **paths)) if paths else choice

    return replace(
        config,
        data=fix(config.data, "data") or config.data,
        storage_file=fix(config.storage_file, "storage_file"),
        host={name: host(name, table) for name, table in config.host.items()},
        component={name: component(name, table) for name, table in config.component.items()},
        gateway={name: gateway(name, table) for name, table in config.gateway.items()},
        networks={name: network(name, choice) for name, choice in config.networks.items()},
        federation=replace(
            config.federation,
            authorities=fix(config.federation.authorities, "federation", "authorities"),
        ),
    )


def secrets(config: Config, environ: Mapping[str, str]) -> tuple[Config, list[Found]]:
    """Read secrets from where the configuration says they are."""
    problems: list[Found] = []
    components: dict[str, ComponentConfig] = {}
    for name, table in config.component.items():
        secret = _secret(table, ("component", name), environ, problems)
        # __post_init__ wants one source of the secret, and this is it from now on.
        known = replace(table, secret=secret, secret_file=None, secret_env="") if secret else table
        components[name] = known
    gateways = {
        name: _with_secret(gateway, ("gateway", name), environ, problems)
        for name, gateway in config.gateway.items()
    }
    storage = config.storage
    if config.storage_file is not None:
        storage, why = _read(config.storage_file)
        problems += [(("storage_file",), why)] if why else []
    try:
        filled = replace(config, component=components, gateway=gateways)
        return replace(filled, storage=storage or config.storage), problems
    except ValueError as error:
        return config, [*problems, (("storage_file",), str(error))]


def _with_secret(
    table: GatewayConfig,
    at: tuple[str, ...],
    environ: Mapping[str, str],
    problems: list[Found],
) -> GatewayConfig:
    secret = _secret(table, at, environ, problems) if table.server else ""
    return replace(table, secret=secret, secret_file=None, secret_env="") if secret else table


def _secret(
    table: ComponentConfig | GatewayConfig,
    at: tuple[str, ...],
    environ: Mapping[str, str],
    problems: list[Found],
) -> str:
    """The secret of a component, from where its table says it is; "" with a problem noted."""
    if table.secret_file is not None:
        secret, why = _read(table.secret_file)
        problems += [((*at, "secret_file"), why)] if why else []
        return secret
    if table.secret_env:
        secret = environ.get(table.secret_env, "")
        why = f"the environment variable {table.secret_env} is not set"
        problems += [] if secret else [((*at, "secret_env"), why)]
        return secret
    return table.secret


def _read(file: Path) -> tuple[str, str]:
    """A secret, or why there is none."""
    try:
        with file.open("rb") as stream:
            secret = stream.read(_MAX_SECRET).decode().strip()
    except OSError as error:
        return "", f"cannot read {file}: {error.strerror}"
    except UnicodeDecodeError:
        return "", f"{file} is not UTF-8 text"
    return (secret, "") if secret else ("", f"{file} is empty")


def consistency(config: Config) -> Iterator[Found]:
    """Files that are missing and keys that contradict each other."""
    yield from _missing_files(config)
    yield from _about_clients(config)
    yield from _same_address(config)
    yield from _other_servers(config)
    for name in config.component:
        if name in config.host:
            yield ("component", name), "this is a host of this server: expected a domain of its own"
    for name in config.gateway:
        if name in config.host or name in config.component:
            what = "this is another domain of this server: expected one of its own"
            yield ("gateway", name), what
    if config.component and not config.listen.component:
        example = 'component = ["127.0.0.1:5347"]'
        what = f"there are components, but no address for them: expected for example {example}"
        yield ("listen", "component"), what


def remarks(config: Config) -> Iterator[str]:
    """What is allowed, but may not be meant, in sentences."""
    listen = config.listen
    if config.federates and not (listen.s2s or listen.s2s_tls):
        yield (
            "Other servers cannot connect to this one, so they can neither answer nor ask whether"
            ' its dialback keys are right: give listen.s2s = ["[::]:5269"].'
        )
    if listen.http and not (listen.https or config.http.url):
        yield (
            "Nobody can upload files (XEP-0363): give http.url, by which a proxy with TLS is"
            " reached, or listen.https."
        )
    for listener in listen.s2s if config.federates else ():
        if listener.starttls_required is False:
            yield f"Other servers may do without TLS at {listener.address} (listen.s2s)."


def _missing_files(config: Config) -> Iterator[Found]:
    for name, host in config.host.items():
        for key in ("certificate", "key", "client_ca"):
            file: Path | None = getattr(host, key)
            if file is None:
                continue
            try:
                file.open("rb").close()
            except OSError as error:
                yield ("host", name, key), f"cannot read {file}: {error.strerror}"


def _other_servers(config: Config) -> Iterator[Found]:
    for table in ("peer", "route"):
        for name in getattr(config, table):
            if name in config.host or name in config.component:
                yield (table, name), "this is a domain of this server: expected another server's"
    yield from _contrary_peers(config)
    federation = config.federation
    if federation.authorities is not None:
        try:
            federation.authorities.open("rb").close()
        except OSError as error:
            what = f"cannot read {federation.authorities}: {error.strerror}"
            yield ("federation", "authorities"), what
    if federation.queue_bytes < config.limits.stanza_bytes:
        yield ("federation", "queue_bytes"), "expected limits.stanza_bytes or more"


def _about_clients(config: Config) -> Iterator[Found]:
    """Keys of an address that mean something for other kinds of listeners only."""
    for kind, whom in (
        ("s2s", "servers"), ("s2s_tls", "servers"), ("http", "HTTP"), ("https", "HTTP"),
    ):  # fmt: skip
        for listener in getattr(config.listen, kind):
            if listener.legacy_auth is not None:
                what = f"{listener.address} is for {whom}, and legacy_auth is for clients"
                yield ("listen", kind), what
            if listener.starttls_required is not None and whom == "HTTP":
                what = f"{listener.address} is for HTTP, and starttls_required is for streams"
                yield ("listen", kind), what


def _contrary_peers(config: Config) -> Iterator[Found]:
    federation = config.federation
    for name, peer in config.peer.items():
        if peer.policy is None and peer.plain and federation.policy == "required":
            what = 'federation.policy is "required", and without TLS there is no certificate'
            yield ("peer", name, "plain"), f'{what}: expected policy = "dialback" with it'
        if peer.policy not in {"required", "dialback"}:
            continue
        if _listed(name, federation.deny):
            yield ("peer", name, "policy"), "federation.deny has this server"
        elif federation.allow and not _listed(name, federation.allow):
            yield ("peer", name, "policy"), "federation.allow does not have this server"


def _listed(name: str, patterns: tuple[str, ...]) -> bool:
    return any(
        name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
        for pattern in patterns
    )


def _same_address(config: Config) -> Iterator[Found]:
    taken: dict[tuple[str, int], str] = {}
    for kind in LISTENERS:
        for listener in getattr(config.listen, kind):
            address = (listener.host, listener.port)
            if listener.port and address in taken:
                yield (
                    ("listen", kind),
                    f"{listener.address} is taken by listen.{taken[address]} already",
                )
            taken.setdefault(address, kind)
