"""Errors of streams, stanzas and SASL, with the conditions the RFCs define.

Faults of the peer raise `RemoteError` or one of the three typed errors; faults of our own use
of this package raise `LocalError`.
"""

from __future__ import annotations

from enum import Enum

from jabberd.xmpp.element import Element


class LocalError(Exception):
    """This server used a state machine in a way it does not allow: a bug of ours."""


class RemoteError(Exception):
    """The peer broke a rule."""


class StreamCondition(Enum):
    """RFC 6120 §4.9.3: why a stream is closed. The value is the element's name."""

    BAD_FORMAT = "bad-format"
    BAD_NAMESPACE_PREFIX = "bad-namespace-prefix"
    CONFLICT = "conflict"
    CONNECTION_TIMEOUT = "connection-timeout"
    HOST_GONE = "host-gone"
    HOST_UNKNOWN = "host-unknown"
    IMPROPER_ADDRESSING = "improper-addressing"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    INVALID_FROM = "invalid-from"
    INVALID_NAMESPACE = "invalid-namespace"
    INVALID_XML = "invalid-xml"
    NOT_AUTHORIZED = "not-authorized"
    NOT_WELL_FORMED = "not-well-formed"
    POLICY_VIOLATION = "policy-violation"
    REMOTE_CONNECTION_FAILED = "remote-connection-failed"
    RESET = "reset"
    RESOURCE_CONSTRAINT = "resource-constraint"
    RESTRICTED_XML = "restricted-xml"
    SEE_OTHER_HOST = "see-other-host"
    SYSTEM_SHUTDOWN = "system-shutdown"
    UNDEFINED_CONDITION = "undefined-condition"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    UNSUPPORTED_FEATURE = "unsupported-feature"
    UNSUPPORTED_STANZA_TYPE = "unsupported-stanza-type"
    UNSUPPORTED_VERSION = "unsupported-version"


class StreamError(RemoteError):
    """Closes the stream with a `<stream:error/>` (RFC 6120 §4.9).

    Args:
        condition: the defined condition.
        text: plain words for a person, in English.
        app: an application-specific condition element, if any (RFC 6120 §4.9.4).
    """

    def __init__(
        self, condition: StreamCondition, text: str = "", app: Element | None = None
    ) -> None:
        super().__init__(f"{condition.value}: {text}" if text else condition.value)
        self.condition = condition
        self.text = text
        self.app = app


class ErrorType(Enum):
    """RFC 6120 §8.3.2: what the sender may do about a stanza error."""

    AUTH = "auth"
    CANCEL = "cancel"
    CONTINUE = "continue"
    MODIFY = "modify"
    WAIT = "wait"


class Condition(Enum):
    """RFC 6120 §8.3.3: stanza error conditions. The value is the element's name."""

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FEATURE_NOT_IMPLEMENTED = "feature-not-implemented"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    ITEM_NOT_FOUND = "item-not-found"
    JID_MALFORMED = "jid-malformed"
    NOT_ACCEPTABLE = "not-acceptable"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHORIZED = "not-authorized"
    POLICY_VIOLATION = "policy-violation"
    RECIPIENT_UNAVAILABLE = "recipient-unavailable"
    REDIRECT = "redirect"
    REGISTRATION_REQUIRED = "registration-required"
    REMOTE_SERVER_NOT_FOUND = "remote-server-not-found"
    REMOTE_SERVER_TIMEOUT = "remote-server-timeout"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    SUBSCRIPTION_REQUIRED = "subscription-required"
    UNDEFINED_CONDITION = "undefined-condition"
    UNEXPECTED_REQUEST = "unexpected-request"

    @property
    def usual_type(self) -> ErrorType:
        """The error type that RFC 6120 §8.3.3 recommends for this condition."""
        return _USUAL.get(self, ErrorType.CANCEL)


_USUAL = {
    Condition.BAD_REQUEST: ErrorType.MODIFY,
    Condition.FORBIDDEN: ErrorType.AUTH,
    Condition.JID_MALFORMED: ErrorType.MODIFY,
    Condition.NOT_ACCEPTABLE: ErrorType.MODIFY,
    Condition.NOT_AUTHORIZED: ErrorType.AUTH,
    Condition.POLICY_VIOLATION: ErrorType.MODIFY,
    Condition.RECIPIENT_UNAVAILABLE: ErrorType.WAIT,
    Condition.REDIRECT: ErrorType.MODIFY,
    Condition.REGISTRATION_REQUIRED: ErrorType.AUTH,
    Condition.REMOTE_SERVER_TIMEOUT: ErrorType.WAIT,
    Condition.RESOURCE_CONSTRAINT: ErrorType.WAIT,
    Condition.SUBSCRIPTION_REQUIRED: ErrorType.AUTH,
    Condition.UNEXPECTED_REQUEST: ErrorType.WAIT,
}

# XEP-0086 §3: what clients older than RFC 3920 read instead of the condition.
LEGACY_CODE = {
    Condition.BAD_REQUEST: 400,
    Condition.CONFLICT: 409,
    Condition.FEATURE_NOT_IMPLEMENTED: 501,
    Condition.FORBIDDEN: 403,
    Condition.GONE: 302,
    Condition.INTERNAL_SERVER_ERROR: 500,
    Condition.ITEM_NOT_FOUND: 404,
    Condition.JID_MALFORMED: 400,
    Condition.NOT_ACCEPTABLE: 406,
    Condition.NOT_ALLOWED: 405,
    Condition.NOT_AUTHORIZED: 401,
    Condition.POLICY_VIOLATION: 406,
    Condition.RECIPIENT_UNAVAILABLE: 404,
    Condition.REDIRECT: 302,
    Condition.REGISTRATION_REQUIRED: 407,
    Condition.REMOTE_SERVER_NOT_FOUND: 404,
    Condition.REMOTE_SERVER_TIMEOUT: 504,
    Condition.RESOURCE_CONSTRAINT: 500,
    Condition.SERVICE_UNAVAILABLE: 503,
    Condition.SUBSCRIPTION_REQUIRED: 407,
    Condition.UNDEFINED_CONDITION: 500,
    Condition.UNEXPECTED_REQUEST: 400,
}


class StanzaError(RemoteError):
    """Answers one stanza with an error (RFC 6120 §8.3).

    Args:
        condition: the defined condition.
        text: plain words for a person, in English.
        type_: what the sender may do; the condition's usual type unless given.
        app: an application-specific condition element, if any (RFC 6120 §8.3.4).

    Attributes:
        by: which part of the server decided it, for people who ask why; empty if not known.
    """

    by = ""

    def __init__(
        self,
        condition: Condition,
        text: str = "",
        type_: ErrorType | None = None,
        app: Element | None = None,
    ) -> None:
        super().__init__(f"{condition.value}: {text}" if text else condition.value)
        self.condition = condition
        self.text = text
        self.type = type_ or condition.usual_type
        self.app = app


class SaslCondition(Enum):
    """RFC 6120 §6.5: why authentication failed. The value is the element's name."""

    ABORTED = "aborted"
    ACCOUNT_DISABLED = "account-disabled"
    CREDENTIALS_EXPIRED = "credentials-expired"
    ENCRYPTION_REQUIRED = "encryption-required"
    INCORRECT_ENCODING = "incorrect-encoding"
    INVALID_AUTHZID = "invalid-authzid"
    INVALID_MECHANISM = "invalid-mechanism"
    MALFORMED_REQUEST = "malformed-request"
    MECHANISM_TOO_WEAK = "mechanism-too-weak"
    NOT_AUTHORIZED = "not-authorized"
    TEMPORARY_AUTH_FAILURE = "temporary-auth-failure"


class SaslError(RemoteError):
    """Ends one SASL exchange with `<failure/>` (RFC 6120 §6.5)."""

    def __init__(self, condition: SaslCondition, text: str = "") -> None:
        super().__init__(f"{condition.value}: {text}" if text else condition.value)
        self.condition = condition
        self.text = text
