"""Streams meet sessions: clients and external components."""
