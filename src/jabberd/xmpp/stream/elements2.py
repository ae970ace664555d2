"""The elements of SASL2 on a stream, as both roles write them (XEP-0388 §2)."""

from __future__ import annotations

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.encoding import encode_base64
from jabberd.xmpp.stream.authenticate import Authenticate, BindRequest, UserAgent
from jabberd.xmpp.stream.events import InlineResult


def challenge(data: bytes) -> Element:
    """`<challenge/>` (XEP-0388 §2.5)."""
    return _with_data("challenge", data)


def failure(error: SaslError, reason: Element | None = None) -> Element:
    """`<failure/>` (XEP-0388 §2.6.2).

    Args:
        error: one of RFC 6120.
        reason: an application-specific condition.
    """
    element = Element(ns.SASL2, "failure", {}, [Element(ns.SASL, error.condition.value)])
    if reason is not None:
        element.add(reason)
    if error.text:
        element.add(Element(ns.SASL2, "text", {}, [error.text]))
    return element


def next_task(data: bytes | None, task: str) -> Element:
    """`<continue/>` with one task (XEP-0388 §2.6.3).

    Args:
        data: the mechanism's last word; None where there is none.
        task: its name.
    """
    element = Element(ns.SASL2, "continue")
    if data is not None:
        element.add(_with_data("additional-data", data))
    return element.add(Element(ns.SASL2, "tasks", {}, [Element(ns.SASL2, "task", {}, [task])]))


def salt(data: bytes, iterations: int) -> Element:
    """`<task-data/>` with what a client needs to derive a key (XEP-0480 §3)."""
    text = encode_base64(data)
    inside = Element(ns.SCRAM_UPGRADE, "salt", {"iterations": str(iterations)}, [text])
    return Element(ns.SASL2, "task-data", {}, [inside])


def success(data: bytes | None, jid: JID, result: InlineResult) -> bytes:
    """`<success/>` with all that came of the request (XEP-0388 §2.6.1).

    In the order of the examples of XEP-0198 §9.3 and XEP-0484 §3.3.

    Args:
        data: the mechanism's last word; None where there is none.
        jid: bare, or full where the stream has a resource.
        result: of the inline requests.
    """
    parts = [b"<success xmlns='%s'>" % ns.SASL2.encode()]
    if data is not None:
        parts.append(_with_data("additional-data", data).to_bytes(ns.SASL2))
    identifier = Element(ns.SASL2, "authorization-identifier", {}, [jid.text])
    parts += (identifier.to_bytes(ns.SASL2), result.resumed, result.failed)
    if jid.resource and not result.resumed:
        parts.append(b"<bound xmlns='%s'>%s</bound>" % (ns.BIND2.encode(), result.bound))
    parts += (result.token, b"</success>")
    return b"".join(parts)


# What a client says


def authenticate(request: Authenticate) -> Element:
    """`<authenticate/>` (XEP-0388 §2.3)."""
    element = Element(ns.SASL2, "authenticate", {"mechanism": request.mechanism})
    if request.initial is not None:
        element.add(_with_data("initial-response", request.initial))
    if request.client is not None:
        element.add(_agent(request.client))
    if request.resume is not None:
        element.add(request.resume)
    if request.bind is not None:
        element.add(_bind(request.bind))
    if request.fast:
        invalidate = "true" if request.invalidate else None
        element.add(Element(ns.FAST, "fast", {"invalidate": invalidate}))
    if request.token_request:
        element.add(Element(ns.FAST, "request-token", {"mechanism": request.token_request}))
    if request.config_version is not None:
        version = {"scheme": "opaque", "value": request.config_version}
        element.add(Element(ns.IAP, "config-version", version))
    names = sorted(request.upgrades)
    return element.add(*(Element(ns.SASL_UPGRADE, "upgrade", {}, [name]) for name in names))


def response(data: bytes) -> Element:
    """`<response/>` (XEP-0388 §2.5)."""
    return _with_data("response", data)


def abort() -> Element:
    """`<abort/>` (XEP-0388 §4.5)."""
    return Element(ns.SASL2, "abort")


def begin_task(task: str) -> Element:
    """`<next/>` (XEP-0388 §2.6.3)."""
    return Element(ns.SASL2, "next", {"task": task})


def salted(key: bytes) -> Element:
    """`<task-data/>` with a key (XEP-0480 §3)."""
    text = encode_base64(key)
    return Element(ns.SASL2, "task-data", {}, [Element(ns.SCRAM_UPGRADE, "hash", {}, [text])])


def _agent(client: UserAgent) -> Element:
    described = (("software", client.software), ("device", client.device))
    inside = [Element(ns.SASL2, name, {}, [text]) for name, text in described if text]
    return Element(ns.SASL2, "user-agent", {"id": client.id or None}, inside)


def _bind(request: BindRequest) -> Element:
    tag = [Element(ns.BIND2, "tag", {}, [request.tag])] if request.tag else []
    return Element(ns.BIND2, "bind", {}, [*tag, *request.features])


def _with_data(name: str, data: bytes) -> Element:
    text = encode_base64(data)
    return Element(ns.SASL2, name, {}, [text] if text else [])
