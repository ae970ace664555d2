"""ANONYMOUS (RFC 4505): a new name for everyone who asks; off unless it is turned on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jabberd.xmpp import prep
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.encoding import decode_text
from jabberd.xmpp.sasl.mechanism import (
    ClientMechanism,
    Conversation,
    ServerMechanism,
    Success,
    ask_client,
    malformed,
)

NAME: Final = "ANONYMOUS"

_MAX_TRACE: Final = 255  # RFC 4505 §2: characters of a token; an address is not longer either


def server(domain: str, token: Callable[[], str]) -> ServerMechanism:
    """The receiving side.

    Args:
        domain: of the host, prepared.
        token: makes an unpredictable string that can be a localpart; it is the user's name.
    """
    return ServerMechanism(NAME, _converse(domain, token))


def client(trace: str = "") -> ClientMechanism:
    """The initiating side.

    Args:
        trace: what the administrator may see: an e-mail address, a word, or nothing.

    Raises:
        prep.PrepError: it has a character that is not allowed.
    """
    return ClientMechanism(NAME, prep.trace(trace).encode())


def _converse(domain: str, token: Callable[[], str]) -> Conversation:
    message = yield from ask_client()
    trace = decode_text(message)
    # The trace is checked, as RFC 6120 §6.5.8 expects, and then forgotten: it proves nothing.
    if len(trace) > _MAX_TRACE:
        raise malformed("the trace is too long")
    try:
        prep.trace(trace)
    except prep.PrepError:
        raise malformed("the trace has a character that is not allowed") from None
    username = prep.localpart(token())
    return Success(username, JID(username, domain).text)
