"""SASL mechanisms, both roles: one mechanism, one file; none reads, writes, derives or waits."""
