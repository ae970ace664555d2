"""The configuration: one TOML file, the environment and the command line, checked as a whole."""

from jabberd.config.effective import Changes, Effective, effective, reloadable_changes
from jabberd.config.load import data_folder, load, reload
from jabberd.config.problems import ConfigError, Problem, StartError
from jabberd.config.shape import (
    Clients,
    ComponentConfig,
    Config,
    HostConfig,
    Journal,
    Limits,
    Listen,
    Listener,
    Log,
    ModuleChoice,
    Passwords,
    Source,
)

__all__ = [
    "Changes",
    "Clients",
    "ComponentConfig",
    "Config",
    "ConfigError",
    "Effective",
    "HostConfig",
    "Journal",
    "Limits",
    "Listen",
    "Listener",
    "Log",
    "ModuleChoice",
    "Passwords",
    "Problem",
    "Source",
    "StartError",
    "data_folder",
    "effective",
    "load",
    "reload",
    "reloadable_changes",
]
