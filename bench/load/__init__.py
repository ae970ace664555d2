"""A neutral load generator for XMPP servers, client side (RFC 6120, RFC 6121).

One process on uvloop. The hot loops never parse XML: they cut at the last closing tag and run one
compiled regular expression over the bytes. `python -m bench.load SCENARIO ...` prints one JSON
object on stdout.
"""
