"""Durable jobs: what was asked for, how far it is, how it ended."""
