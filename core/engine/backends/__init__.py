"""Engines that run elsewhere, behind the same port as the one on this machine."""
