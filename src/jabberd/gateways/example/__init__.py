"""A small made-up network: the template for a transport, and what the framework is tested with.

`server.py` is the far end, `wire.py` its protocol, `transport.py` one user's login, and
`network.py` the value that describes it all. docs/write-a-transport.md goes through them.
"""

from jabberd.gateways.example.network import ExampleNetwork, Options, load

__all__ = ["ExampleNetwork", "Options", "load"]
