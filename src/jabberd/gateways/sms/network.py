"""SMS, as the gateway is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jabberd.gateways.sms.codes import NUMBER_FORM, Codes
from jabberd.gateways.sms.hub import Hub, Rules
from jabberd.gateways.sms.options import Options, backend_of
from jabberd.gateways.sms.transport import SmsTransport
from jabberd.gateways.transport import (
    Capability,
    Form,
    Login,
    Network,
    Question,
    SignUpRefused,
    Site,
    Transport,
)

__all__ = ["Options", "SmsNetwork", "load"]

_OPT_IN: Final = Form("SMS", "Your messages go out as SMS from a number that all users share.")


class SmsNetwork(Network):
    """See `Network`.

    Args:
        options: see there.
    """

    title = "SMS"
    identity = "sms"
    capabilities = Capability.RECEIPTS | Capability.STANDING
    form = NUMBER_FORM
    prompt = "Telephone number"
    example = "+4915112345678"
    policy = (
        "SMS are not encrypted: telephone companies can read and store them.",
        "Your telephone number is kept until you unregister; how many SMS you sent, for two days.",
        "To whom you sent an SMS is kept for 7 days, for delivery reports and answers.",
    )
    stores_credentials = False
    transmission = "plain"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._numbers = options.numbers
        self._codes = Codes(options.numbers, options.number)
        self._hub: Hub | None = None
        if options.registration == "shared":
            self.form = _OPT_IN

    @property
    def hub(self) -> Hub:
        """What all users share; there once it is started."""
        if self._hub is None:
            raise RuntimeError("the network is not started")
        return self._hub

    def canonical(self, text: str) -> str:
        """See `Network.canonical`."""
        return self._numbers.canonical(text)

    def transport(self, user: str, login: Login, site: Site) -> Transport:  # noqa: ARG002
        """See `Network.transport`."""
        return SmsTransport(self.hub, user, self._shared or login.data.get("phone", ""))

    async def start(self, site: Site) -> None:
        """See `Network.start`.

        Raises:
            OSError: a file or a folder that the options name is not there.
        """
        options = self._options
        rules = Rules(
            self._numbers,
            self._shared,
            options.sms_per_day,
            options.parts_seconds,
            options.alphabet,
        )
        self._hub = Hub(site, backend_of(options), rules)
        await self._hub.start()

    async def stop(self) -> None:
        """See `Network.stop`."""
        hub, self._hub = self._hub, None
        if hub is not None:
            await hub.stop()

    async def sign_up(
        self, user: str, answers: Mapping[str, str], state: Mapping[str, str], site: Site
    ) -> Login | Question:
        """See `Network.sign_up`: a code proves the number, or none is asked for."""
        if self._options.registration == "shared":
            return Login(user)
        if self._hub is None:
            raise SignUpRefused("no SMS can be sent now; try again later", timeout=True)
        return await self._codes.sign_up(user, answers, state, site, self._hub)

    @property
    def _shared(self) -> str:
        shared = self._options.registration == "shared"
        return self._numbers.sender(self._options.number) if shared else ""


def load(options: Options) -> Network:
    """The network, ready to be used."""
    return SmsNetwork(options)
