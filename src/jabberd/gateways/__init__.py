"""Transports: services by which users reach people of other networks (XEP-0100)."""
