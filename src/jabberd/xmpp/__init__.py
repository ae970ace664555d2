"""The language: pure XMPP, without sockets, clocks, logs or randomness."""
