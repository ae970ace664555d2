"""E-mail as a foreign network: what an operator configures, and what comes of it."""

from __future__ import annotations

from jabberd.gateways.email.options import Options
from jabberd.gateways.transport import Network

__all__ = ["Options", "load"]


def load(options: Options) -> Network:
    """The network.

    Raises:
        ValueError: a file that the options name is not there, or not what it should be.
        ImportError: the extra `email` is not installed.
    """
    # They need libraries that a server without this gateway does not have.
    if options.mode == "mailbox":
        from jabberd.gateways.email.mailbox import Mailboxes  # noqa: PLC0415 -- see above

        return Mailboxes(options)
    from jabberd.gateways.email.domain import Domain  # noqa: PLC0415 -- see above

    return Domain(options)
