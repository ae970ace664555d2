"""Sockets: bytes between the operating system and a sans-I/O machine."""
