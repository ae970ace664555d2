"""XEP-0092 Software Version: name and version of the server."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata

from jabberd.core.module import At, Host, IqGet, Module, Xep
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.stanza import Iq

XEP = Xep(92, "1.1")


@dataclass(frozen=True)
class Options:
    """Software version.

    Attributes:
        show_os: also tell the operating system, which can help an attacker (§5).
    """

    show_os: bool = False


def _installed() -> str:
    try:
        return metadata.version("jabberd")
    except metadata.PackageNotFoundError:  # run from a source tree that nobody installed
        return "unknown"


def load(_host: Host, options: Options) -> Module:
    """Answers what the server runs; nothing of it changes while it runs."""
    query = Element(
        ns.VERSION,
        "query",
        None,
        [
            Element(ns.VERSION, "name", None, ["jabberd"]),
            Element(ns.VERSION, "version", None, [_installed()]),
        ],
    )
    if options.show_os:
        query.add(Element(ns.VERSION, "os", None, [f"{platform.system()} {platform.release()}"]))

    def answer(_iq: Iq, _session: Session | None) -> Element:
        return query

    return Module(handlers=[IqGet(ns.VERSION, "query", answer, At.HOST)], features=[ns.VERSION])
