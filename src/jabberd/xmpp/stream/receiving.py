"""The receiving role: a client negotiates a stream with this server.

What may be said when is in `RULES` and `IQ_RULES`, to which each part adds its own: `accepting`
(stream headers, STARTTLS), `sasl1` (RFC 6120 §6, XEP-0078), `sasl2` (XEP-0388), and here the
binding of a resource (RFC 6120 §7) or the resumption of a session (XEP-0198 §5) after a login.
"""

from __future__ import annotations

from typing import ClassVar, Final

from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    Condition,
    LocalError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Stanza, qname
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.accepting import IqRules, Rules, State
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.sasl2 import Sasl2Stream

_ENABLED_TOO_EARLY: Final = sm.failed(Condition.UNEXPECTED_REQUEST)


class ReceivingStream(Sasl2Stream):
    """The server's end of a client's stream.

    Args:
        hosts: how a host wants to be logged in to; None for one that is not ours.
        channel: what TLS has settled already.
        before: limits until the peer has logged in.
        after: limits from then on.
        token: makes unpredictable strings, at least 128 bits, fit to be a localpart.
        pool: parsers shared with other streams of the same thread; its own unless given.
    """

    __slots__ = ("_binding",)

    def _forget(self) -> None:
        super()._forget()
        self._binding: Iq | None = None

    # Answers to questions

    def bound(self, jid: JID) -> list[Event]:
        """Answer `BindWanted` with the full JID; stanzas may flow."""
        self._answer()
        if self._legacy_iq is not None:
            answer = Iq.build(to=None, from_=self.policy.domain, id=self._legacy_iq.id)
        elif self._binding is not None:
            bind = Element(ns.BIND, "bind", {}, [Element(ns.BIND, "jid", {}, [jid.text])])
            answer = Iq.build([bind], id=self._binding.id)
        else:
            raise LocalError("no resource was asked for")
        answer.type = "result"
        self._output.append(self.send(answer))
        self._become_ready()
        return self._negotiate()

    def refuse_bind(self, error: StanzaError) -> list[Event]:
        """Answer `BindWanted` with an error; the peer may ask again (RFC 6120 §7.7)."""
        self._answer()
        request = self._legacy_iq or self._binding
        if request is None:
            raise LocalError("no resource was asked for")
        if self._legacy_iq is not None:
            self._account = None
            self._framer.limits = self._before
            self._state = State.LEGACY if self._offer is None else State.FEATURES
        self._reply_error(request, error)
        self._legacy_iq = self._binding = None
        return self._negotiate()

    def resumed(self, data: bytes) -> list[Event]:
        """Answer `ResumeWanted` with `<resumed/>`, serialised; stanzas may flow."""
        self._answer()
        self._output.append(data)
        self._become_ready()
        return self._negotiate()

    def resume_failed(self, data: bytes) -> list[Event]:
        """Answer `ResumeWanted` with `<failed/>`, serialised; a resource may be asked for."""
        self._answer()
        self._output.append(data)
        return self._negotiate()

    def reply(self, iq: Iq) -> list[Event]:
        """Answer `RegisterWanted`."""
        self._answer()
        self._output.append(self.send(iq))
        return self._negotiate()

    # Frames

    def _said(self, frame: Nonza | Stanza | BadAddress) -> list[Event]:
        if isinstance(frame, Nonza):
            return self._nonza(frame)
        stanza = frame.stanza if isinstance(frame, BadAddress) else frame
        return self._stanza(stanza)

    def _nonza(self, nonza: Nonza) -> list[Event]:
        rule = self.RULES.get((self._state, qname(nonza.ns, nonza.name)))
        if rule is not None:
            return rule(self, nonza)
        return self._out_of_turn(nonza)

    def _stanza(self, stanza: Stanza) -> list[Event]:
        if isinstance(stanza, Iq) and stanza.is_request and len(stanza.children) == 1:
            rule = self.IQ_RULES.get((self._state, stanza.children[0]))
            if rule is not None:
                self._demand_tls()
                return rule(self, stanza)
        # RFC 6120 §4.9.3.12, §6.3.2 and §7.1.
        what = "log in" if self._account is None else "bind a resource"
        raise StreamError(StreamCondition.NOT_AUTHORIZED, f"{what} first")

    # Binding, resumption and registration

    def _logged_in(self) -> JID:
        if self._account is None:
            raise LocalError("nobody has logged in")
        return self._account

    def _bind(self, iq: Iq) -> list[Event]:
        account = self._logged_in()
        if iq.type != "set":
            self._reply_error(iq, StanzaError(Condition.BAD_REQUEST))
            return []
        resource = iq.request().child_text(ns.BIND, "resource") or ""
        self._binding = iq
        return self._ask(events.BindWanted(account, resource, self._how()))

    def _resume(self, nonza: Nonza) -> list[Event]:
        return self._ask(events.ResumeWanted(self._logged_in(), nonza, self._how()))

    def _enable(self, _nonza: Nonza) -> list[Event]:
        self._output.append(_ENABLED_TOO_EARLY)  # XEP-0198 §3
        return []

    def _register(self, iq: Iq) -> list[Event]:
        return self._ask(events.RegisterWanted(iq))

    # All else ends the stream.

    RULES: ClassVar[Rules] = {
        **Sasl2Stream.RULES,
        (State.BIND, qname(ns.SM, "resume")): _resume,
        (State.BIND, qname(ns.SM, "enable")): _enable,
    }
    IQ_RULES: ClassVar[IqRules] = {
        **Sasl2Stream.IQ_RULES,
        (State.FEATURES, qname(ns.REGISTER, "query")): _register,
        (State.LEGACY, qname(ns.REGISTER, "query")): _register,
        (State.BIND, qname(ns.BIND, "bind")): _bind,
    }
