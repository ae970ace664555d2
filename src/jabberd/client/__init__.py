"""The other end: programs of ours that connect to an XMPP server."""
