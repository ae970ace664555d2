"""E-mail: mails as values, read and written without any I/O; transports carry them."""

from jabberd.gateways.email.network import Options, load

__all__ = ["Options", "load"]
