"""Durable state behind small typed interfaces."""
