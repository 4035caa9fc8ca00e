"""Dataset library: what can be trained on, where it came from, and what it holds."""
