"""Compositions: several adapters that answer as one."""
