"""The elements of SASL on a stream, as both roles write and read them (RFC 6120 §6.4, §6.5)."""

from __future__ import annotations

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.sasl.encoding import decode_base64, encode_base64


def auth(mechanism: str, data: bytes) -> Element:
    """`<auth/>` with an initial response, which may be empty (RFC 6120 §6.4.2)."""
    text = encode_base64(data, optional=True)
    return Element(ns.SASL, "auth", {"mechanism": mechanism}, [text])


def challenge(data: bytes) -> Element:
    """`<challenge/>` (RFC 6120 §6.4.3)."""
    return _with_data("challenge", encode_base64(data))


def response(data: bytes) -> Element:
    """`<response/>` (RFC 6120 §6.4.3)."""
    return _with_data("response", encode_base64(data))


def abort() -> Element:
    """`<abort/>` (RFC 6120 §6.4.4)."""
    return Element(ns.SASL, "abort")


def success(data: bytes | None) -> Element:
    """`<success/>`; None where the mechanism has no last word (RFC 6120 §6.4.6)."""
    return _with_data("success", "" if data is None else encode_base64(data, optional=True))


def failure(error: SaslError) -> Element:
    """`<failure/>` (RFC 6120 §6.4.5)."""
    element = Element(ns.SASL, "failure", {}, [Element(ns.SASL, error.condition.value)])
    if error.text:
        element.add(Element(ns.SASL, "text", {f"{ns.XML} lang": "en"}, [error.text]))
    return element


def read_data(nonza: Nonza) -> bytes | None:
    """What one of these elements carries; None where it is empty.

    Raises:
        SaslError: incorrect-encoding.
    """
    return decode_base64(nonza.text)


def read_failure(nonza: Nonza) -> SaslError:
    """The error that a `<failure/>` names; not-authorized where it names none that we know.

    Also of SASL2, where the text alone has another namespace (XEP-0388 §2.6.2).
    """
    condition, text = SaslCondition.NOT_AUTHORIZED, ""
    for child in nonza.element():
        if (child.ns, child.name) in {(ns.SASL, "text"), (ns.SASL2, "text")}:
            text = child.text
        elif child.ns == ns.SASL:
            try:
                condition = SaslCondition(child.name)
            except ValueError:  # RFC 6120 §6.5: what is unknown is a failure all the same
                condition = SaslCondition.NOT_AUTHORIZED
    return SaslError(condition, text)


def _with_data(name: str, text: str) -> Element:
    return Element(ns.SASL, name, {}, [text] if text else [])
