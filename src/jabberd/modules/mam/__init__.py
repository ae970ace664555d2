"""XEP-0313 Message Archive Management: everybody's messages, to be read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from jabberd.core.command import Command
from jabberd.core.module import (
    AccountEvent,
    At,
    Host,
    IqGet,
    IqSet,
    Module,
    OnAccount,
    OnMessage,
    OnSession,
    OnWaiting,
    Phase,
    SessionEvent,
    Side,
    Xep,
)
from jabberd.core.ports import ArchiveRules
from jabberd.modules.mam.query import Archive
from jabberd.modules.mam.retention import Retention, seconds_of
from jabberd.modules.mam.retraction import Retractions
from jabberd.modules.mam.rules import Rules
from jabberd.xmpp import ns
from jabberd.xmpp.payload.mam_prefs import Default

XEPS: Final = (
    Xep(59, "1.0", "Pages are not found by their number; in archives only."),
    Xep(313, "1.1.3", "Archives of accounts; messages of rooms are not in them."),
    Xep(334, "1.0.0"),
    Xep(359, "0.7.0"),
    Xep(413, "0.2.1", "In archives only, where nothing is ever modified."),
    Xep(424, "0.4.2", "In rooms, it is theirs to support."),
    Xep(431, "0.2.0"),
    Xep(441, "0.2.0", "No configuration by ad-hoc commands."),
)

_PAGE: Final = 1000
_FEATURES: Final = (
    ns.MAM,
    ns.MAM_EXTENDED,
    ns.MAM_GROUPCHAT_FIELD,
    ns.RSM,
    ns.SID,
    ns.ORDER_BY,
    ns.ORDER_BY_MAM,
    ns.RETRACT,
    ns.RETRACT_TOMBSTONE,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is archived, for how long, and how it is found.

    Attributes:
        default: whose messages are archived, where an account has said nothing: "always"
            everybody's, "roster" those with its contacts, "never" nobody's.
        keep: how long messages are kept: "forever", or a time like "30 days" or "1 year";
            `jabberd user archive` sets it for one account.
        search: keep an index of words, so that messages are found by what is said in them.
        page: messages that one query returns at most, up to 1000.
        cache: accounts whose preferences are kept in memory; addresses in their lists count too.
    """

    default: Literal["always", "roster", "never"] = "always"
    keep: str = "forever"
    search: bool = True
    page: int = 250
    cache: int = 20_000

    def __post_init__(self) -> None:
        try:
            seconds_of(self.keep)
        except ValueError as error:
            raise ValueError(f"keep: {error}") from None
        if not 1 <= self.page <= _PAGE:
            raise ValueError(f"page: expected a number from 1 to {_PAGE}")


def load(host: Host, options: Options) -> Module:
    """The archives of a host's accounts."""
    search = options.search
    rules = Rules(host, Default(options.default), searchable=search, cache=options.cache)
    archive = Archive(host, options.page, searchable=search)
    retractions = Retractions(host)
    retention = Retention(host, options.keep)
    wants = [(ns.RETRACT, "retract")]
    return Module(
        features=[ns.ORDER_BY, ns.ORDER_BY_MAM, ns.RETRACT, ns.RETRACT_TOMBSTONE],
        account_features=[*_FEATURES, ns.FULLTEXT] if search else _FEATURES,
        handlers=[
            IqSet(ns.MAM, "query", archive.query, At.OWN),
            IqGet(ns.MAM, "query", archive.form, At.OWN),
            IqGet(ns.MAM, "metadata", archive.metadata, At.OWN),
            IqGet(ns.MAM, "prefs", rules.read, At.OWN),
            IqSet(ns.MAM, "prefs", rules.write, At.OWN),
            IqSet(ns.MAM, "query", archive.refuse, At.USER),
            IqGet(ns.MAM, "query", archive.refuse, At.USER),
            IqGet(ns.MAM, "metadata", archive.refuse, At.USER),
            IqGet(ns.MAM, "prefs", archive.refuse, At.USER),
            IqSet(ns.MAM, "prefs", archive.refuse, At.USER),
            OnMessage(Side.SENT, Phase.COPY, retractions.sent, wants),
            OnMessage(Side.RECEIVED, Phase.COPY, retractions.received, wants),
            OnWaiting(retractions.waiting),
            OnSession(SessionEvent.BOUND, rules.bound),
            OnSession(SessionEvent.CLOSED, rules.closed),
            OnAccount(AccountEvent.DELETING, rules.deleting),
        ],
        provides={ArchiveRules: rules},
        commands=[Command(("user", "archive"), retention.archive, online=True)],
    )
