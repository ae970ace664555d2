"""expat, set up for streams: what RFC 6120 §11.1 forbids is refused while it is parsed."""

from __future__ import annotations

from xml.parsers import expat

from jabberd.xmpp.error import StreamCondition, StreamError


def make_parser() -> expat.XMLParserType:
    """A parser that refuses what RFC 6120 §11.1 forbids."""
    parser = expat.ParserCreate("utf-8", " ")
    if hasattr(parser, "SetReparseDeferralEnabled"):
        # Otherwise a stanza that arrives in two reads is held back (see _HOLD for the guard).
        parser.SetReparseDeferralEnabled(False)
    parser.CommentHandler = _restricted
    parser.ProcessingInstructionHandler = _restricted
    parser.StartDoctypeDeclHandler = _restricted
    return parser


def _restricted(*_args: object) -> None:
    raise StreamError(
        StreamCondition.RESTRICTED_XML,
        "comments, processing instructions, DTDs and entities are not allowed",
    )


def from_expat(error: expat.ExpatError, where: bytes) -> StreamError:
    """The stream error for what expat refuses.

    Args:
        error: what it said.
        where: the character that it refused, as far as it has come.
    """
    why = expat.ErrorString(error.code)
    # Without a DTD, every entity but the five predefined ones is undefined (RFC 6120 §11.1).
    if why == expat.errors.XML_ERROR_UNDEFINED_ENTITY:
        return StreamError(StreamCondition.RESTRICTED_XML, "entities are not allowed")
    if why == expat.errors.XML_ERROR_UNBOUND_PREFIX:
        return StreamError(StreamCondition.NOT_WELL_FORMED, "a namespace prefix is not declared")
    if why == expat.errors.XML_ERROR_INVALID_TOKEN and _breaks_utf8(where):
        return StreamError(StreamCondition.UNSUPPORTED_ENCODING, "this is not UTF-8")
    return StreamError(StreamCondition.NOT_WELL_FORMED, why)


def _breaks_utf8(where: bytes) -> bool:
    try:
        where.decode()
    except UnicodeDecodeError as error:
        return error.start == 0
    return False
