"""From what TLS settled to what authentication may use of it."""

from __future__ import annotations

from cryptography import x509

from jabberd.net.wire import TlsFacts
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl.offer import Channel

_XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")  # RFC 6120 §13.7.1.4
_UTF8_STRING = 0x0C
_MOST_NAMES = 16


def channel_of(tls: TlsFacts | None) -> Channel:
    """The channel as SASL sees it; a connection without TLS has nothing to offer."""
    if tls is None:
        return Channel(secure=False)
    bindings: dict[str, bytes] = {}
    exporter = tls.exporter()
    if exporter is not None:
        bindings["tls-exporter"] = exporter  # RFC 9266
    end_point = tls.server_end_point()
    if end_point is not None:
        bindings["tls-server-end-point"] = end_point  # RFC 5929 §4
    return Channel(True, bindings, _identities(tls), tls.version)


def _identities(tls: TlsFacts) -> tuple[JID, ...]:
    der = tls.peer_certificate()
    if der is None or not tls.peer_certificate_valid():
        return ()
    return xmpp_addresses(der)


def xmpp_addresses(der: bytes) -> tuple[JID, ...]:
    """The XmppAddr names of a certificate (RFC 6120 §13.7.1.4); unreadable ones are left out.

    Args:
        der: the certificate.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return ()
    found: list[JID] = []
    for name in names.get_values_for_type(x509.OtherName)[:_MOST_NAMES]:
        if name.type_id != _XMPP_ADDR:
            continue
        try:
            found.append(JID.parse(_utf8_string(name.value)))
        except (ValueError, InvalidJID):
            continue
    return tuple(found)


def _utf8_string(der: bytes) -> str:
    """Read a DER UTF8String (X.690 §8.23) of a length that an address can have.

    Raises:
        ValueError: it is something else.
    """
    if len(der) < 2 or der[0] != _UTF8_STRING:
        raise ValueError("not a UTF8String")
    length, offset = der[1], 2
    if length & 0x80:
        size = length & 0x7F
        if size not in (1, 2):
            raise ValueError("too long")
        length = int.from_bytes(der[2 : 2 + size])
        offset += size
    if len(der) != offset + length:
        raise ValueError("wrong length")
    return der[offset:].decode()
