"""The configuration: one TOML file, the environment and the command line, checked as a whole."""

from jabberd.config.check import remarks
from jabberd.config.effective import (
    FIXED_FEDERATION,
    Changes,
    Effective,
    effective,
    reloadable_changes,
)
from jabberd.config.federation import Federation, PeerConfig
from jabberd.config.gateway import GatewayConfig, NetworkChoice
from jabberd.config.load import data_folder, load, reload
from jabberd.config.problems import ConfigError, Problem, StartError
from jabberd.config.shape import (
    Clients,
    ComponentConfig,
    Config,
    HostConfig,
    Http,
    Journal,
    Limits,
    Listen,
    Listener,
    Log,
    ModuleChoice,
    Passwords,
    PrivilegesConfig,
    Source,
)
from jabberd.config.texts import parse_route

__all__ = [
    "FIXED_FEDERATION",
    "Changes",
    "Clients",
    "ComponentConfig",
    "Config",
    "ConfigError",
    "Effective",
    "Federation",
    "GatewayConfig",
    "HostConfig",
    "Http",
    "Journal",
    "Limits",
    "Listen",
    "Listener",
    "Log",
    "ModuleChoice",
    "NetworkChoice",
    "Passwords",
    "PeerConfig",
    "PrivilegesConfig",
    "Problem",
    "Source",
    "StartError",
    "data_folder",
    "effective",
    "load",
    "parse_route",
    "reload",
    "reloadable_changes",
    "remarks",
]
