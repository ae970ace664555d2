"""SMS: by SMPP to an operator, by an HTTP provider, or by a modem on this machine.

`network.py` is the value that the gateway is told of, `transport.py` one user's share of it, and
`backend.py` what a way out has to offer; `smpp/`, `http.py` and `spool.py` are such ways.
"""

from jabberd.gateways.sms.network import Options, SmsNetwork, load

__all__ = ["Options", "SmsNetwork", "load"]
