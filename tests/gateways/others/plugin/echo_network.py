"""A made-up network, as slidge wants it: everybody on it repeats what they are told.

It runs in slidge's process and knows nothing of the server or of the tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from slidge import BaseGateway, BaseSession
from slidge.contact import LegacyContact, LegacyRoster
from slixmpp.exceptions import XMPPError

FRIENDS = {"echo": "The Echo", "twin": "The Twin"}


class Gateway(BaseGateway):
    """The gateway; whoever knows the password of the network may use it."""

    COMPONENT_NAME = "Echoes"
    COMPONENT_TYPE = "echo"
    ROSTER_GROUP = "Echoes"

    async def validate(self, user_jid: Any, registration_form: dict[str, str | None]) -> None:
        """Refuse a wrong password."""
        if registration_form.get("password") != "narcissus":
            raise XMPPError("not-authorized", "the network does not know this password")


class Session(BaseSession):
    """Somebody who is logged in."""

    async def login(self) -> str:
        """Log in."""
        return "Listening"

    async def logout(self) -> None:
        """Log out."""


class Contact(LegacyContact):
    """Somebody on the network."""

    async def on_message(self, message: Any) -> None:
        """Repeat it; the twin speaks as the user does, as from a telephone."""
        self.send_text(message.body, carbon=self.legacy_id == "twin")

    async def update_info(self) -> None:
        """Tell what is known of them; refuse whom the network does not have."""
        if self.legacy_id not in FRIENDS:
            raise XMPPError("item-not-found", "nobody of that name")
        self.name = FRIENDS[self.legacy_id]
        self.is_friend = True
        self.online("listening")


class Roster(LegacyRoster):
    """The contacts of a user."""

    async def fill(self) -> AsyncIterator[LegacyContact]:
        """The same for everybody."""
        for name in FRIENDS:
            contact = await self.by_legacy_id(name)
            # slidge 0.4.2 means to do this for what is yielded here, but never does.
            await contact.add_to_roster()
            yield contact
