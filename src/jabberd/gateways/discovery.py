"""What a gateway and its contacts say that they are and can do (XEP-0030, XEP-0115, XEP-0504)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from jabberd.gateways.transport import Capability, Network
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload import caps, disco, forms

NODE: Final = "https://jabberd.org/gateway"
_GATEWAY: Final = (
    ns.DISCO_INFO,
    ns.DISCO_ITEMS,
    ns.REGISTER,
    ns.GATEWAY,
    ns.VERSION,
    ns.VCARD,
    ns.COMMANDS,
    ns.PING,
    ns.NICK,
    ns.ESCAPING,
    ns.LAST,
)
_CONTACT: Final = (ns.DISCO_INFO, ns.PING, ns.VCARD, ns.OOB)
_OF: Final = (
    (Capability.TYPING, ns.CHAT_STATES),
    (Capability.RECEIPTS, ns.RECEIPTS),
    (Capability.READ, ns.MARKERS),
    (Capability.CORRECTIONS, ns.CORRECTION),
    (Capability.REPLIES, ns.REPLY),
    (Capability.REACTIONS, ns.REACTIONS),
    (Capability.RETRACTIONS, ns.RETRACT),
)


def gateway_info(network: Network) -> Element:
    """The disco#info of the gateway."""
    identity = disco.identity("gateway", network.identity, network.title, "en")
    return disco.info([identity, *disco.features(_GATEWAY), *_policies(network)])


def contact_info(network: Network) -> Element:
    """The disco#info of every contact: what the network can do, and clients may offer."""
    identity = disco.identity("client", "pc", network.title, "en")
    features = [*_CONTACT, *(name for can, name in _OF if network.capabilities & can)]
    return disco.info([identity, *disco.features(features)])


@lru_cache(maxsize=64)
def gateway_caps(network: Network) -> Element:
    """The `<c/>` of the gateway's presence."""
    return caps.element(NODE, caps.verification_string(gateway_info(network)))


@lru_cache(maxsize=64)
def contact_caps(network: Network) -> Element:
    """The `<c/>` of contacts' presence."""
    return caps.element(NODE, caps.verification_string(contact_info(network)))


def _policies(network: Network) -> list[Element]:
    """XEP-0504: of the gateway, and of the network as far as that is known here."""
    auth = "plain" if network.stores_credentials else "no_auth"
    own = [
        forms.Field("auth_data", "list-single", values=[auth]),
        forms.Field("data_transmission", "list-single", values=[network.transmission]),
        forms.Field("data_retention", values=["720"]),
        forms.Field("data_deletion", "boolean", values=["1"]),
        forms.Field("full_erasure", "boolean", values=["1"]),
        forms.Field("extra_info", "text-multi", values=list(network.policy)),
    ]
    scope = f"{ns.DATA_POLICY[:-2]}:identity:gateway:{network.identity}:0"
    theirs = [forms.Field("data_retention", values=["unknown"])]
    return [
        forms.form(own, kind="result", form_type=ns.DATA_POLICY),
        forms.form(theirs, kind="result", form_type=scope),
    ]
