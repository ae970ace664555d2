"""The messages of SCRAM, read and written (RFC 5802 §5.1 and §7); no mechanism in here."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from jabberd.xmpp.sasl import keys
from jabberd.xmpp.sasl.encoding import canonical_base64, decode_text

_BINDING_FLAG: Final = re.compile(r"[ny]|p=[A-Za-z0-9.-]+")
_PRINTABLE: Final = re.compile(r"[!-+\--~]+")  # no comma
_ATTRIBUTE: Final = re.compile(r"[A-Za-z]=.+", re.DOTALL)
_POSITIVE: Final = re.compile(r"[1-9][0-9]{0,9}")
_BAD_ESCAPE: Final = re.compile(r"=(?!2C|3D)")

TLS_VERSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"TLSv1.3": "0304", "TLSv1.2": "0303", "TLSv1.1": "0302", "TLSv1": "0301"}
)
"""OpenSSL's names of the versions of TLS, and the attribute t of XEP-0515 §4.1 for each."""


class Malformed(ValueError):  # noqa: N818 -- the adjective is its meaning
    """The message violates the grammar; the text says where, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The client-first-message.

    Attributes:
        header: the GS2 header as it was sent, with its final comma.
        flag: "n", "y" or "p".
        binding: the type of channel binding; empty unless the flag is "p".
        authzid: decoded; may be empty.
        username: decoded, not prepared.
        nonce: of the client.
        bare: client-first-message-bare as it was sent.
    """

    header: str
    flag: str
    binding: str
    authzid: str
    username: str
    nonce: str
    bare: str

    @classmethod
    def parse(cls, message: bytes) -> ClientFirst:
        """Read it.

        Raises:
            Malformed: it violates the grammar, or has a mandatory extension.
            SaslError: malformed-request: it is not UTF-8.
        """
        parts = decode_text(message).split(",", 2)
        if len(parts) != 3:
            raise Malformed("there is no GS2 header")
        flag, authzid, bare = parts
        if not _BINDING_FLAG.fullmatch(flag):
            raise Malformed("the channel binding flag is neither n, y nor p=")
        username, nonce = _attributes(bare, "nr")
        return cls(
            header=f"{flag},{authzid},",
            flag=flag[0],
            binding=flag[2:],
            authzid=_unescape(_value(authzid, "a")) if authzid else "",
            username=_unescape(username),
            nonce=_demand_nonce(nonce),
            bare=bare,
        )


@dataclass(frozen=True, slots=True)
class ServerFirst:
    """The server-first-message.

    Attributes:
        nonce: the client's, followed by the server's.
        salt: of the account.
        iterations: of the account.
        hash: the attribute h of XEP-0474, as it was sent; empty where there is none.
        tls: the attribute t of XEP-0515, as it was sent; empty where there is none.
    """

    nonce: str
    salt: bytes
    iterations: int
    hash: str
    tls: str = ""

    @classmethod
    def parse(cls, text: str) -> ServerFirst:
        """Read it.

        Raises:
            Malformed: it violates the grammar, or has a mandatory extension.
        """
        nonce, salt, iterations = _attributes(text, "rsi")
        if not _POSITIVE.fullmatch(iterations):
            raise Malformed("the iteration count is not a number")
        extensions = text.split(",")[3:]
        return cls(
            nonce=_demand_nonce(nonce),
            salt=_demand_base64(salt),
            iterations=int(iterations),
            hash=_extension(extensions, "h"),
            tls=_extension(extensions, "t"),
        )

    def text(self) -> str:
        """Write it."""
        salt = base64.b64encode(self.salt).decode("ascii")
        extensions = f",h={self.hash}" if self.hash else ""
        if self.tls:
            extensions += f",t={self.tls}"
        return f"r={self.nonce},s={salt},i={self.iterations}{extensions}"


@dataclass(frozen=True, slots=True)
class ClientFinal:
    """The client-final-message.

    Attributes:
        binding: the attribute c, still in base 64.
        nonce: what the server sent.
        proof: ClientProof.
        without_proof: client-final-message-without-proof as it was sent.
    """

    binding: str
    nonce: str
    proof: bytes
    without_proof: str

    @classmethod
    def parse(cls, message: bytes) -> ClientFinal:
        """Read it.

        Raises:
            Malformed: it violates the grammar, or has a mandatory extension.
            SaslError: malformed-request: it is not UTF-8.
        """
        without_proof, _, proof = decode_text(message).rpartition(",p=")
        binding, nonce = _attributes(without_proof, "cr")
        return cls(binding, _demand_nonce(nonce), _demand_base64(proof), without_proof)


def client_final(without_proof: str, proof: bytes) -> bytes:
    """Write the client-final-message."""
    return f"{without_proof},p={base64.b64encode(proof).decode('ascii')}".encode()


def server_final(signature: bytes) -> bytes:
    """Write the server-final-message."""
    return b"v=" + base64.b64encode(signature)


def parse_server_final(message: bytes) -> bytes:
    """Read the ServerSignature of a server-final-message.

    Raises:
        Malformed: it violates the grammar, or is an error.
        SaslError: malformed-request: it is not UTF-8.
    """
    (signature,) = _attributes(decode_text(message), "v")
    return _demand_base64(signature)


def binding_value(header: str, data: bytes) -> str:
    """The attribute c: the GS2 header and the data of the channel binding, in base 64."""
    return base64.b64encode(header.encode() + data).decode("ascii")


def escape(name: str) -> str:
    """Write a saslname."""
    return name.replace("=", "=3D").replace(",", "=2C")


def printable(nonce: str) -> bool:
    """Whether this can be a nonce."""
    return bool(_PRINTABLE.fullmatch(nonce))


def xor(left: bytes, right: bytes) -> bytes:
    """Exclusive-or of two strings of the same length."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def sign(key: bytes, auth_message: str, algorithm: str) -> bytes:
    """ClientSignature from StoredKey, or ServerSignature from ServerKey."""
    return hmac.digest(key, auth_message.encode(), algorithm)


def downgrade_hash(
    algorithm: str, mechanisms: Iterable[str], bindings: Iterable[str] | None
) -> str:
    """The attribute h of XEP-0474 §5.1: a hash of what was advertised.

    Args:
        algorithm: hashlib's name of the mechanism's hash function.
        mechanisms: the names of all mechanisms that were advertised.
        bindings: the types of channel binding that were advertised by XEP-0440; None where that
            extension was not used.
    """
    text = "\x1e".join(sorted(mechanisms, key=str.encode))
    if bindings is not None:
        text += "\x1f" + "\x1e".join(sorted(bindings, key=str.encode))
    return base64.b64encode(keys.digest(algorithm, text.encode())).decode("ascii")


def _attributes(message: str, names: str) -> Sequence[str]:
    # The values of the attributes that must stand first, in this order. What follows are
    # extensions, which are ignored if they are well-formed; but m is mandatory by definition.
    parts = message.split(",")
    if any(part.startswith("m=") for part in parts):
        raise Malformed("a mandatory extension is not supported")
    if len(parts) < len(names) or not all(map(_ATTRIBUTE.fullmatch, parts)):
        raise Malformed("the message is not a list of attributes, or lacks some")
    return [_value(part, name) for part, name in zip(parts, names, strict=False)]


def _extension(extensions: Iterable[str], name: str) -> str:
    return next((part[2:] for part in extensions if part.startswith(f"{name}=")), "")


def _value(attribute: str, name: str) -> str:
    if not attribute.startswith(f"{name}="):
        raise Malformed(f"attribute {name} is not where it belongs")
    return attribute[2:]


def _unescape(saslname: str) -> str:
    if not saslname or _BAD_ESCAPE.search(saslname):
        raise Malformed("a name is empty, or has = that is neither =2C nor =3D")
    return saslname.replace("=2C", ",").replace("=3D", "=")


def _demand_nonce(nonce: str) -> str:
    if not printable(nonce):
        raise Malformed("the nonce has a character that is not allowed")
    return nonce


def _demand_base64(text: str) -> bytes:
    data = canonical_base64(text)
    if not data:
        raise Malformed("an attribute is not canonical base 64, or empty")
    return data
