"""Gateways: the framework on the example network, and each network on real far ends."""
