"""SMPP 3.4, from the side of those who send (ESME): codec, session and connection."""
