"""SMPP as a way out: texts to messages of SMPP, and what comes to SMS and delivery reports."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import structlog

from jabberd.gateways.events import Trouble
from jabberd.gateways.sms import receipts
from jabberd.gateways.sms.backend import Fragment, Handler, Incoming, Link, Outgoing, Receipt
from jabberd.gateways.sms.numbers import Numbers, clean_address
from jabberd.gateways.sms.segments import Part, Segment, Way, read_header, split
from jabberd.gateways.sms.smpp.bodies import Message
from jabberd.gateways.sms.smpp.client import Client
from jabberd.gateways.sms.smpp.connection import NoAnswer, NoRoom, Rejected, Target
from jabberd.gateways.sms.smpp.fields import Address, FieldError
from jabberd.gateways.sms.smpp.pdu import Pdu, Tag
from jabberd.gateways.sms.smpp.session import message_of
from jabberd.gateways.sms.smpp.status import Status, trouble
from jabberd.gateways.sms.text import Alphabet, decode
from jabberd.gateways.transport import Lost, NotDone, NotTaken

_log: Final = structlog.get_logger("jabberd.sms")
_TURN_SECONDS: Final = 50.0  # with the answer, less than a gateway waits for a verb
_EMIT_SECONDS: Final = 45.0
_UDH: Final = 0x40
_STORE_AND_FORWARD: Final = 0x03
_KIND: Final = 0x3C
_REPORT: Final = 0x04
_NOTIFICATION: Final = 0x20
_ALWAYS: Final = 1
_FAILURE: Final = 2
_INTERNATIONAL: Final = 1
_NATIONAL: Final = 2
_NETWORK: Final = 3
_ALPHANUMERIC: Final = 5
_ISDN: Final = 1
_MOST_MISSED: Final = 1_000
_MISSED_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How messages are made.

    Attributes:
        target: where to.
        rate: messages per second.
        way: how the parts of a text are told to belong together.
        most_parts: of a text.
        alphabet: what the SMSC means by coding 0.
        service_type: of messages.
        first_pause: seconds before the second try to connect.
    """

    target: Target = field(repr=False)
    rate: float = 5.0
    way: Way = "udh8"
    most_parts: int = 10
    alphabet: Alphabet = "gsm"
    service_type: str = ""
    first_pause: float = 1.0


class SmppBackend:
    """See `Backend`.

    Args:
        settings: see there.
        numbers: their spelling.
    """

    def __init__(self, settings: Settings, numbers: Numbers) -> None:
        self.link = Link()
        self._settings = settings
        self._numbers = numbers
        self._client: Client | None = None
        self._handler: Handler | None = None
        self._refs = itertools.count(secrets.randbelow(65_536))
        self._missed: OrderedDict[bytes, float] = OrderedDict()

    async def start(self, handler: Handler) -> None:
        """See `Backend.start`."""
        self._handler = handler
        settings = self._settings
        self._client = Client(settings.target, settings.rate, self, self.link, settings.first_pause)

    async def stop(self) -> None:
        """See `Backend.stop`."""
        client, self._client = self._client, None
        if client is not None:
            await client.stop()

    def parts(self, text: str) -> int:
        """See `Backend.parts`."""
        return len(self._split(text, 0))

    async def send(self, sms: Outgoing) -> tuple[str, ...]:
        """See `Backend.send`."""
        client = self._client
        if client is None:
            raise Lost("the gateway is stopping")
        segments = self._split(sms.text, next(self._refs) & 0xFFFF)
        if self._settings.way == "payload" and len(segments) > 1:
            whole = b"".join(segment.data for segment in segments)
            segments = [Segment(segments[0].coding, whole)]
        until = asyncio.get_running_loop().time() + _TURN_SECONDS
        names: list[str] = []
        for number, segment in enumerate(segments):
            where = f"part {number + 1} of {len(segments)}: " if number else ""
            message, tlvs = self._message(sms, segment)
            try:
                names.append(await client.submit(message, until, tlvs))
            except Rejected as rejected:
                raise NotDone(trouble(rejected.status), f"{where}{rejected}") from None
            except FieldError as error:
                raise NotDone(Trouble.NOT_ACCEPTABLE, f"{where}{error}") from None
            except NoAnswer as error:
                text = f"{where}{error}: it may have arrived or not"
                raise NotDone(Trouble.UNKNOWN_FATE, text) from None
            except NoRoom as error:
                if number:
                    raise NotDone(Trouble.UNKNOWN_FATE, f"{where}not sent: {error}") from None
                raise Lost(str(error)) from None
        return tuple(name for name in names if name)

    # What comes (`smpp.connection.Inlet`)

    async def came(self, pdu: Pdu) -> int:
        """See `Inlet.came`."""
        if self._handler is None:
            return Status.TEMPORARY
        if self._missed.pop(_digest(pdu), 0.0) > asyncio.get_running_loop().time():
            return Status.OK  # it was taken when it came before
        try:
            async with asyncio.timeout(_EMIT_SECONDS):
                await self._pass_on(pdu, self._handler)
        except NotTaken as error:
            _log.info("an SMS was not taken", why=str(error), lasting=error.lasting)
            return Status.PERMANENT if error.lasting else Status.TEMPORARY
        except TimeoutError:
            return Status.TEMPORARY
        return Status.OK

    def missed(self, pdu: Pdu) -> None:
        """See `Inlet.missed`: it will come again, and need not be taken again."""
        self._missed[_digest(pdu)] = asyncio.get_running_loop().time() + _MISSED_SECONDS
        if len(self._missed) > _MOST_MISSED:
            self._missed.popitem(last=False)

    # Inside

    def _split(self, text: str, ref: int) -> list[Segment]:
        settings = self._settings
        return split(
            text, settings.way, ref=ref, most=settings.most_parts, alphabet=settings.alphabet
        )

    def _message(
        self, sms: Outgoing, segment: Segment
    ) -> tuple[Message, tuple[tuple[int, bytes], ...]]:
        header = segment.header(self._settings.way)
        data, part = header + segment.data, segment.part
        tlvs: tuple[tuple[int, bytes], ...] = ()
        if len(segment.data) > _LONGEST_PLAIN:
            tlvs, data = ((Tag.MESSAGE_PAYLOAD, data),), b""
        elif part is not None and not header:
            tlvs = (
                (Tag.SAR_MSG_REF_NUM, part.ref.to_bytes(2, "big")),
                (Tag.SAR_TOTAL_SEGMENTS, bytes([part.total])),
                (Tag.SAR_SEGMENT_SEQNUM, bytes([part.number])),
            )
        message = Message(
            service_type=self._settings.service_type,
            source=address_of(sms.source),
            destination=address_of(sms.destination),
            esm_class=_STORE_AND_FORWARD | (_UDH if header else 0),
            registered_delivery=_ALWAYS if sms.receipt else _FAILURE,
            data_coding=segment.coding,
            short_message=data,
        )
        return message, tlvs

    async def _pass_on(self, pdu: Pdu, handler: Handler) -> None:
        message, data = message_of(pdu)
        source, destination = self._text_of(message.source), self._text_of(message.destination)
        if message.esm_class & _KIND == _REPORT:
            receipt = self._receipt(pdu, message, data, source)
            if receipt is not None:
                await handler.receipt(receipt)
            return
        if message.esm_class & _KIND == _NOTIFICATION:
            return  # it is still on its way
        part, ports = _sar(pdu), False
        if message.esm_class & _UDH:
            header = read_header(data)
            part, ports, data = header.part or part, header.ports, header.rest
        text = None if ports else decode(data, message.data_coding, self._settings.alphabet)
        if text is None:
            _log.info("an SMS that is no text was dropped", coding=message.data_coding)
        elif part is not None and part.total > 1:
            fragment = Fragment(part, data, message.data_coding)
            await handler.incoming(Incoming(source, destination, fragment=fragment))
        else:
            await handler.incoming(Incoming(source, destination, text))

    def _receipt(self, pdu: Pdu, message: Message, data: bytes, contact: str) -> Receipt | None:
        text = decode(data, message.data_coding, self._settings.alphabet) or ""
        name = (pdu.tlv(Tag.RECEIPTED_MESSAGE_ID) or b"").rstrip(b"\0").decode("latin-1")
        state = pdu.number(Tag.MESSAGE_STATE)
        receipt = receipts.read(text, name=name, state=state, contact=contact)
        if receipt is None:
            _log.info("a delivery report names no SMS")
        return receipt

    def _text_of(self, address: Address) -> str:
        if address.ton == _ALPHANUMERIC:
            return clean_address(address.digits) or _NOBODY
        digits = address.digits
        if address.ton == _INTERNATIONAL and digits[:1] != "+":
            digits = f"+{digits}"
        national = address.ton == _NATIONAL
        return self._numbers.sender(digits, national=national) or _NOBODY


_NOBODY: Final = "unknown"
_LONGEST_PLAIN: Final = 160


def address_of(text: str) -> Address:
    """An address as SMPP has it (SMPP 3.4 §5.2.5)."""
    if text.startswith("+"):
        return Address(_INTERNATIONAL, _ISDN, text[1:])
    if text.isdecimal():
        return Address(_NETWORK, 0, text)
    return Address(_ALPHANUMERIC, 0, text) if text else Address()


def _sar(pdu: Pdu) -> Part | None:
    ref, total = pdu.number(Tag.SAR_MSG_REF_NUM), pdu.number(Tag.SAR_TOTAL_SEGMENTS)
    number = pdu.number(Tag.SAR_SEGMENT_SEQNUM)
    if ref is None or total is None or number is None:
        return None
    part = Part(ref, total, number)
    return part if part.valid else None


def _digest(pdu: Pdu) -> bytes:
    """What stays the same when an SMSC brings a message once more."""
    message, data = message_of(pdu)
    said = (message.source, message.destination, message.esm_class, message.data_coding)
    sar = (_sar(pdu), pdu.tlv(Tag.RECEIPTED_MESSAGE_ID), pdu.number(Tag.MESSAGE_STATE))
    return hashlib.sha256(f"{said} {sar}".encode() + data).digest()
