"""Where servers are that others talk to: loopback addresses of one network, one for each."""

from __future__ import annotations

from typing import Final

PORT: Final = 5269
"""On all of these addresses."""
MOST: Final = 1_000
"""Live domains that a server is told the way to."""
DEAD: Final = 50
"""Dead ones."""
LIVE_HOST: Final = 101
SILENT_HOST: Final = 102
FULL_HOST: Final = 103
_LIVE: Final = "live"


def live(number: int) -> str:
    """A domain whose server answers."""
    return f"{_LIVE}{number}.example"


def is_live(domain: str) -> bool:
    """Whether it is one of these."""
    return domain.startswith(_LIVE)


def dead(number: int) -> str:
    """A domain whose server does not."""
    return f"dead{number}.example"


def routes(network: str) -> dict[str, str]:
    """The way to each domain; of the dead ones, half accept connections and never say a word.

    Args:
        network: the first three bytes of the addresses.
    """
    found = {live(number): f"{network}.{LIVE_HOST}:{PORT}" for number in range(MOST)}
    for number in range(DEAD):
        host = FULL_HOST if number % 2 else SILENT_HOST
        found[dead(number)] = f"{network}.{host}:{PORT}"
    return found
