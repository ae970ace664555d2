"""Mode "domain": every registered user has an address in a mail domain of ours."""

# ruff: noqa: ARG002 -- a network leaves out what it does not need

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from jabberd.gateways.email import address
from jabberd.gateways.email.inbox import Recipient
from jabberd.gateways.email.lmtp import Delivery, Door
from jabberd.gateways.email.mx import Exchanges
from jabberd.gateways.email.options import Options, host_port
from jabberd.gateways.email.outbound import Account, Courier, Direct, Relay
from jabberd.gateways.email.post import Post, is_own, secret_of, yes
from jabberd.gateways.email.reach import Place
from jabberd.gateways.email.refused import Refused
from jabberd.gateways.email.shared import CAPABILITIES, IDENTITY, PROMPT
from jabberd.gateways.email.signing import Signer, load_key
from jabberd.gateways.events import Online, Text, Trouble
from jabberd.gateways.transport import (
    BadAddress,
    Emit,
    Field,
    Form,
    Login,
    Network,
    NotDone,
    Question,
    SignUpRefused,
    Site,
    Transport,
)

_log: Final = structlog.get_logger("jabberd.gateway.email")
_RESERVED: Final = frozenset(
    {"abuse", "hostmaster", "mailer-daemon", "noc", "postmaster", "root", "security", "webmaster"}
)
_OPERATOR: Final = frozenset({"abuse", "postmaster"})


class Domain(Network):
    """The network in this mode.

    Args:
        options: see there.
        courier: brings mails; unless given, what the options say.
    """

    title = "E-mail"
    identity = IDENTITY
    capabilities = CAPABILITIES
    prompt = PROMPT
    example = "nurse@capulet.example"
    policy = (
        "Mails are kept by the mail servers that they go through, and by those of the recipients.",
        "The gateway remembers their subjects and addresses for half a year, to recognise answers.",
    )

    def __init__(self, options: Options, courier: Courier | None = None) -> None:
        self._options = options
        self._domain = address.canonical_domain(options.mail_domain)
        self._courier = courier or _courier(options)
        self._post: Post | None = None
        self._door: Door | None = None
        self.listening: dict[str, str] = {}
        """Where mail is taken: "lmtp" or "smtp" → address."""
        default = "true" if options.strangers else "false"
        self.form = Form(
            "E-mail",
            f"You get an address of your own at {self._domain}.",
            (
                Field("name", "Your name, as others see it"),
                Field("signature", "What stands below each mail", "text-multi"),
                Field("strangers", "Take mail from strangers", "boolean", default=default),
                Field(
                    "receipts", "Ask to be told when a mail was read", "boolean", default="false"
                ),
            ),
        )

    def canonical(self, text: str) -> str:
        """See `Network`."""
        return address.canonical(text)

    def transport(self, user: str, login: Login, site: Site) -> Transport:
        """See `Network`."""
        if self._post is None:
            raise RuntimeError("the network has not been started")
        return _Login(self._post, user, login, self._domain)

    async def start(self, site: Site) -> None:
        """See `Network`."""
        self._post = Post(site, self._options, await secret_of(site), lambda _: self._courier)
        receiver = Reception(self._post, site, self._options, self._domain)
        options = self._options
        door = Door(
            receiver, options.hostname or options.mail_domain,
            mail_longest=options.mail_bytes, context=_server_tls(options),
        )  # fmt: skip
        self._door = door
        for name, where in (("lmtp", options.lmtp), ("smtp", options.smtp)):
            if where:
                self.listening[name] = await door.listen(where, lmtp=name == "lmtp")
                _log.info("mail is taken", by=name, address=self.listening[name])
        await self._post.start()

    async def stop(self) -> None:
        """See `Network`."""
        if self._door is not None:
            await self._door.close()
        if self._post is not None:
            await self._post.stop()

    async def sign_up(
        self, user: str, answers: Mapping[str, str], state: Mapping[str, str], site: Site
    ) -> Login | Question:
        """See `Network`; nothing has to be tried."""
        local = user.partition("@")[0]
        try:
            name = address.canonical(f"{local}@{self._domain}").lower()
        except BadAddress:
            text = "There can be no mail address for you: your name has characters that none has."
            raise SignUpRefused(text) from None
        if local.lower() in _RESERVED:
            raise SignUpRefused("This address is for the operator of the mail domain.")
        if site.user_of(name) not in {None, user}:
            raise SignUpRefused(f"Somebody else has the address {name}.")
        wanted = ("name", "signature", "strangers", "receipts")
        return Login(name, {key: answers[key][:1_000] for key in wanted if key in answers})


class _Login(Transport):
    """A user's address."""

    def __init__(self, post: Post, user: str, login: Login, domain: str) -> None:
        self._post = post
        self._user = user
        self._login = login
        self._domain = domain

    async def run(self, emit: Emit) -> None:
        """Nothing has to be logged in to: mail comes by itself."""
        await emit(Online(self._login.name))
        await asyncio.Event().wait()

    async def send_text(self, to: str, text: Text) -> str:
        """See `Transport`."""
        if is_own(to, self._domain):
            why = "this is one of our own addresses: write to the Jabber address of its user"
            raise NotDone(Trouble.NOT_ALLOWED, why)
        author = self._post.author(self._user, self._login)
        return await self._post.send(author, to, text)


class Reception:
    """Whom mail from outside is for.

    Args:
        post: of the gateway.
        site: of the gateway.
        options: see there.
        domain: canonical, of our addresses.
    """

    def __init__(self, post: Post, site: Site, options: Options, domain: str) -> None:
        self._post = post
        self._site = site
        self._options = options
        self._domain = domain

    def admit(self, sender: str, to: str) -> None:
        """See `lmtp.Receiver`."""
        self._recipient(to)

    async def take(self, delivery: Delivery) -> None:
        """See `lmtp.Receiver`."""
        to = self._recipient(delivery.to)
        site, user = self._site, to.user
        await self._post.inbox.take(
            to, delivery.sender, delivery.data, lambda event: site.emit(user, event)
        )

    def _recipient(self, text: str) -> Recipient:
        try:
            to = address.canonical(text)
        except BadAddress as error:
            raise Refused(553, "5.1.3", str(error)) from None
        local, domain = address.split(to)
        if domain != self._domain:
            raise Refused(550, "5.7.1", "We do not relay")
        known = self._post.verp.recognise(to)
        if known is not None:
            local = address.split(known[0])[0]
        names = [local, address.without_detail(local)[0]]
        if local.lower() in _OPERATOR and self._options.postmaster:
            names.append(self._options.postmaster)
        for name in names:
            user = self._site.user_of(f"{name.lower()}@{domain}")
            login = self._site.login(user) if user is not None else None
            if user is not None and login is not None:
                return Recipient(
                    user, domain, self._takes_strangers(login), self._post.mark(user),
                    closed=True, about=known[1] if known is not None else "",
                )  # fmt: skip
        raise Refused(550, "5.1.1", "There is no such address")

    def _takes_strangers(self, login: Login) -> bool:
        answer = login.data.get("strangers")
        return self._options.strangers if answer is None else yes(answer)


def _courier(options: Options) -> Courier:
    hello = options.hostname or options.mail_domain
    if options.relay:
        host, port = host_port(options.relay)
        place = Place(
            host, port, options.relay_security, verify=options.relay_verify, anywhere=True,
            authorities=options.authorities,
        )  # fmt: skip
        courier: Courier = Relay(place, Account(options.relay_user, options.secret()), hello)
    else:
        courier = Direct(Exchanges(), hello)
    if not options.dkim_key:
        return courier
    domain = address.wire_domain(address.canonical_domain(options.mail_domain))
    key = load_key(Path(options.dkim_key))
    return Signer(courier, domain, options.dkim_selector, key)


def _server_tls(options: Options) -> ssl.SSLContext | None:
    if not options.smtp_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.smtp_certificate, options.smtp_key or None)
    return context
