"""The errors of OpenSSL: said in a few words, and not left lying about."""

from __future__ import annotations

import contextlib

from OpenSSL import SSL, crypto


def reason(error: SSL.Error | crypto.Error) -> str:
    """What OpenSSL says, in a few words; of the peer's bytes nothing is in it."""
    if isinstance(error, SSL.SysCallError):
        return "connection ended within a record"
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details:
        return "; ".join(str(entry[-1]) for entry in details)
    return type(error).__name__


def forget_errors() -> None:
    """Empty OpenSSL's queue of errors; call it where a certificate may have been refused.

    The queue is the thread's, not the connection's. pyOpenSSL empties it only where it raises what
    it found there, and a certificate that is refused is no such error. Up to OpenSSL 3, the next
    connection that has nothing to read takes what is left for its own fault, and ends.
    """
    with contextlib.suppress(crypto.Error):  # nothing is no certificate: it raises all there is
        crypto.load_certificate(crypto.FILETYPE_ASN1, b"")
