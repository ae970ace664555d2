"""What a client says when it begins to log in by SASL2: `<authenticate/>`, taken apart.

XEP-0388 §2.3, with what XEP-0198, XEP-0386, XEP-0480, XEP-0484 and XEP-0509 put into it. Whatever
else is in there is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import lexical, ns, prep
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.sasl.encoding import canonical_base64

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MOST: Final = 255  # characters of a description; more is no use to anybody


@dataclass(frozen=True, slots=True)
class UserAgent:
    """Which client it is (XEP-0388 §2.3); for the account's owner, and for nobody else.

    Attributes:
        id: of the installation: a UUID in small letters; empty where the client tells none.
        software: in words; may be empty.
        device: in words; may be empty.
    """

    id: str
    software: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class BindRequest:
    """A resource is wanted together with the login (XEP-0386 §3.2).

    Attributes:
        tag: what the client would like to find in its resource, as it came; may be empty.
        features: the elements that ask for features of the new session.
    """

    tag: str = ""
    features: tuple[Element, ...] = ()

    def resource(self, unique: str) -> str:
        """The resource that comes of it: the tag, if it can be part of one, and what is unique.

        Args:
            unique: makes the resource unlike all others of the account.
        """
        try:
            return prep.resourcepart(f"{self.tag}/{unique}") if self.tag else unique
        except prep.PrepError:
            return unique


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A request to log in.

    Attributes:
        mechanism: its name, as it came.
        initial: the initial response; None where there is none.
        client: which client it is; None where it does not say.
        bind: the wish for a resource; None where there is none.
        resume: `<resume/>` (XEP-0198 §5); None where there is none.
        token_request: the mechanism for which a token is wanted (XEP-0484 §3.2); empty where
            none is.
        fast: whether it is by a token.
        invalidate: whether that token shall be good for nothing from now on.
        upgrades: names of tasks that the client is ready for (XEP-0480 §2.2).
        config_version: on which offer the request is based (XEP-0509 §2.2); None where the
            client does not say.
    """

    mechanism: str
    initial: bytes | None = None
    client: UserAgent | None = None
    bind: BindRequest | None = None
    resume: Element | None = None
    token_request: str = ""
    fast: bool = False
    invalidate: bool = False
    upgrades: frozenset[str] = frozenset()
    config_version: str | None = None


def read(nonza: Nonza) -> Authenticate:
    """Take an `<authenticate/>` apart.

    Raises:
        SaslError: incorrect-encoding, or malformed-request for a user agent whose id is no UUID.
    """
    element = nonza.element()
    initial = element.find(ns.SASL2, "initial-response")
    request = element.find(ns.FAST, "request-token")
    fast = element.find(ns.FAST, "fast")
    version = element.find(ns.IAP, "config-version")
    return Authenticate(
        mechanism=nonza.attrs.get("mechanism", ""),
        initial=None if initial is None else decode(initial.text),
        client=_read_agent(element.find(ns.SASL2, "user-agent")),
        bind=_read_bind(element.find(ns.BIND2, "bind")),
        resume=element.find(ns.SM, "resume"),
        token_request="" if request is None else request.get("mechanism"),
        fast=fast is not None,
        invalidate=fast is not None and lexical.boolean(fast.get("invalidate")) is True,
        upgrades=frozenset(
            upgrade.text.strip() for upgrade in element.find_all(ns.SASL_UPGRADE, "upgrade")
        ),
        config_version=None if version is None else version.get("value"),
    )


def decode(text: str) -> bytes:
    """Decode the character data of an element of SASL2, where no text is no bytes.

    White space should not be in there (XEP-0388 §2.2), and is in all of its examples.

    Raises:
        SaslError: incorrect-encoding.
    """
    data = canonical_base64("".join(text.split()))
    if data is None:
        raise SaslError(SaslCondition.INCORRECT_ENCODING)
    return data


def _read_agent(element: Element | None) -> UserAgent | None:
    if element is None:
        return None
    uuid = element.get("id").lower()
    if uuid and not _UUID.fullmatch(uuid):
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "the id of a user agent is a UUID")
    return UserAgent(uuid, _described(element, "software"), _described(element, "device"))


def _described(element: Element, name: str) -> str:
    return " ".join((element.child_text(ns.SASL2, name) or "").split())[:_MOST]


def _read_bind(element: Element | None) -> BindRequest | None:
    if element is None:
        return None
    features = tuple(child for child in element if child.ns != ns.BIND2)
    return BindRequest((element.child_text(ns.BIND2, "tag") or "").strip(), features)
