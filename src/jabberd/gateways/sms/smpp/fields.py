"""The kinds of fields that SMPP bodies are made of (SMPP 3.4 §3.1); pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class FieldError(ValueError):
    """A body is cut off, or a value does not fit its field."""


class Reader:
    """Takes a body apart from its start.

    Args:
        data: the body.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many octets are left."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next octets.

        Raises:
            FieldError: there are not so many.
        """
        if count > self.left:
            raise FieldError(f"{count} octets are expected, and {self.left} are there")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        """The next octets as a number.

        Raises:
            FieldError: there are not so many.
        """
        return int.from_bytes(self.take(size), "big")

    def string(self, most: int) -> str:
        """A C-octet string of up to `most` octets, its NUL among them.

        Raises:
            FieldError: its end is not there.
        """
        end = self._data.find(b"\0", self._at, self._at + most)
        if end < 0:
            raise FieldError(f"a string of up to {most - 1} octets does not end")
        return self.take(end - self._at + 1)[:-1].decode("latin-1")


class Kind(Protocol):
    """How one field is read and written."""

    def read(self, reader: Reader) -> Any:
        """Its value; raises `FieldError`."""

    def write(self, value: Any) -> bytes:
        """Its octets; raises `FieldError`."""


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned integer.

    Attributes:
        size: in octets.
    """

    size: int = 1

    def read(self, reader: Reader) -> int:
        """See `Kind`."""
        return reader.number(self.size)

    def write(self, value: int) -> bytes:
        """See `Kind`."""
        try:
            return value.to_bytes(self.size, "big")
        except OverflowError:
            raise FieldError(f"{value} does not fit {self.size} octets") from None


@dataclass(frozen=True, slots=True)
class String:
    """A C-octet string.

    Attributes:
        most: octets, the NUL among them.
    """

    most: int

    def read(self, reader: Reader) -> str:
        """See `Kind`."""
        return reader.string(self.most)

    def write(self, value: str) -> bytes:
        """See `Kind`."""
        try:
            data = value.encode("latin-1")
        except UnicodeEncodeError:
            raise FieldError("a string has characters that SMPP does not have") from None
        if len(data) >= self.most or b"\0" in data:
            raise FieldError(f"a string is longer than {self.most - 1} octets, or has a NUL")
        return data + b"\0"


class Octets:
    """Octets behind a count of one octet: short_message."""

    def read(self, reader: Reader) -> bytes:
        """See `Kind`."""
        return reader.take(reader.number(1))

    def write(self, value: bytes) -> bytes:
        """See `Kind`."""
        if len(value) > LONGEST_SHORT:
            raise FieldError(f"a short message has {len(value)} octets, at most {LONGEST_SHORT}")
        return bytes([len(value)]) + value


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its type (§5.2.5, §5.2.6).

    Attributes:
        ton: type of number.
        npi: numbering plan.
        digits: the address itself.
    """

    ton: int = 0
    npi: int = 0
    digits: str = ""


class Destinations:
    """The destinations of submit_multi (§4.5.1): addresses, and names of distribution lists."""

    def read(self, reader: Reader) -> tuple[Address | str, ...]:
        """See `Kind`."""
        return tuple(self._one(reader) for _ in range(reader.number(1)))

    def write(self, value: tuple[Address | str, ...]) -> bytes:
        """See `Kind`."""
        if len(value) > _MOST_DESTINATIONS:
            raise FieldError(f"there are {len(value)} destinations")
        parts = [bytes([len(value)])]
        for one in value:
            if isinstance(one, str):
                parts.append(b"\2" + String(21).write(one))
            else:
                parts.append(b"\1" + write_address(one, 21))
        return b"".join(parts)

    @staticmethod
    def _one(reader: Reader) -> Address | str:
        flag = reader.number(1)
        if flag == 1:
            return read_address(reader, 21)
        if flag == 2:
            return reader.string(21)
        raise FieldError(f"{flag} is no kind of destination")


class Unsuccessful:
    """Where submit_multi failed, and why (§4.5.3)."""

    def read(self, reader: Reader) -> tuple[tuple[Address, int], ...]:
        """See `Kind`."""
        return tuple((read_address(reader, 21), reader.number(4)) for _ in range(reader.number(1)))

    def write(self, value: tuple[tuple[Address, int], ...]) -> bytes:
        """See `Kind`."""
        if len(value) > _MOST_DESTINATIONS:
            raise FieldError(f"there are {len(value)} destinations")
        each = [write_address(address, 21) + Number(4).write(why) for address, why in value]
        return bytes([len(value)]) + b"".join(each)


LONGEST_SHORT = 254
"""Octets of a short_message (§5.2.22)."""
_MOST_DESTINATIONS = 254


def read_address(reader: Reader, most: int) -> Address:
    """An address whose string has up to `most` octets; raises `FieldError`."""
    return Address(reader.number(1), reader.number(1), reader.string(most))


def write_address(address: Address, most: int) -> bytes:
    """Its octets; raises `FieldError`."""
    ton, npi = Number().write(address.ton), Number().write(address.npi)
    return ton + npi + String(most).write(address.digits)


@dataclass(frozen=True, slots=True)
class AddressOf:
    """An address as one field.

    Attributes:
        most: octets of its string, the NUL among them.
    """

    most: int = 21

    def read(self, reader: Reader) -> Address:
        """See `Kind`."""
        return read_address(reader, self.most)

    def write(self, value: Address) -> bytes:
        """See `Kind`."""
        return write_address(value, self.most)
