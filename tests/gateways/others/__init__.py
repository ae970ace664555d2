"""Gateways that others have written, as components of a server of ours."""
