"""Runs jabberd beside other XMPP servers and compares what they cost (see README.md)."""
