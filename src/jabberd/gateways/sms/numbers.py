"""Telephone numbers: one spelling for each, and which of them SMS may go to; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType

from jabberd.gateways.events import Trouble
from jabberd.gateways.transport import BadAddress, NotDone

_LONGEST: Final = 40
_NAME: Final = re.compile(r"(?=.*[^\W\d_])[^\W_][\w .&'+-]{0,10}")
_SHORT: Final = re.compile(r"[0-9]{3,8}")
_NOT_FOR_SMS: Final = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The rules of one gateway.

    Attributes:
        country: of numbers without a country code (ISO 3166: "DE"); empty: they are refused.
        countries: that SMS may go to; empty: all.
    """

    country: str = ""
    countries: frozenset[str] = frozenset()

    def canonical(self, text: str) -> str:
        """A number as "+4917…"; a short code or a sender's name as it is.

        Raises:
            BadAddress: it is nothing of these, and why.
        """
        text = " ".join(text.split())
        if len(text) > _LONGEST:
            raise BadAddress("this is too long for a telephone number")
        if text[:1].isalpha() and _NAME.fullmatch(text):
            return text
        digits = re.sub(r"\D", "", text)
        if not text.startswith("+") and self._is_emergency(digits):
            raise BadAddress("emergency numbers cannot be reached through this gateway")
        number = self._parse(text)
        if number is not None and phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, PhoneNumberFormat.E164)
        if _SHORT.fullmatch(text):
            return text
        if number is None and self.country == "" and not text.startswith("+"):
            raise BadAddress(f"{text!r}: begin with + and the code of the country")
        raise BadAddress(f"{text!r} is no telephone number")

    def check(self, contact: str) -> None:
        """Whether SMS may go there.

        Args:
            contact: canonical.

        Raises:
            NotDone: it may not, and why.
        """
        if not contact.startswith("+"):
            text = "names and short codes of senders cannot be answered"
            raise NotDone(Trouble.NOT_ALLOWED, text)
        number = self._parse(contact)
        if number is None or not phonenumbers.is_valid_number(number):
            raise NotDone(Trouble.NO_SUCH_CONTACT, f"{contact} is no telephone number")
        if phonenumbers.number_type(number) in _NOT_FOR_SMS:
            raise NotDone(Trouble.NOT_ALLOWED, f"{contact} is a number of special rates")
        region = phonenumbers.region_code_for_number(number) or ""
        if self.countries and region not in self.countries:
            text = f"this gateway sends no SMS to {region or 'this country'}"
            raise NotDone(Trouble.NOT_ALLOWED, text)

    def sender(self, text: str, *, national: bool = False) -> str:
        """Who an SMS came from, or its destination, in one spelling where it is a number.

        Args:
            text: as it came.
            national: it is said to be a number without the code of a country.
        """
        text = clean_address(text)
        # Where nothing is said, an international number often comes without its plus.
        national = national or text.startswith(("0", "+"))
        for attempt in (text,) if national else (f"+{text}", text):
            try:
                found = self.canonical(attempt)
            except BadAddress:
                continue
            if found.startswith("+"):
                return found
        return text

    def _is_emergency(self, digits: str) -> bool:
        regions = {self.country, *self.countries} - {""} or {"DE", "GB", "US"}
        return any(phonenumbers.is_emergency_number(digits, one) for one in regions)

    def _parse(self, text: str) -> phonenumbers.PhoneNumber | None:
        try:
            return phonenumbers.parse(text, self.country or None)
        except NumberParseException:
            return None


def clean_address(text: str) -> str:
    """An address as it came, fit to be shown; at most as long as a number can be."""
    return "".join(char for char in text if char.isprintable()).strip()[:_LONGEST]


def mask(number: str) -> str:
    """A number for the log: enough to recognise it, too little to call it."""
    return f"{number[:5]}…{number[-2:]}" if len(number) > 7 else "…"
