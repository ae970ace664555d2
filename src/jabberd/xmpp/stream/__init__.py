"""Stream negotiation as sans-I/O machines: bytes and answers in, bytes and events out."""
