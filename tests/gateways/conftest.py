"""Far ends that tests of several networks share."""

from __future__ import annotations

from tests.gateways.email.conftest import dovecot, mail_folder, mailbox, names, postfix
from tests.gateways.sms.conftest import modules

__all__ = ["dovecot", "mail_folder", "mailbox", "modules", "names", "postfix"]
