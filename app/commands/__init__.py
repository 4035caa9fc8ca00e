"""The command line: one module per domain word. It acts as the local administrator of one workspace."""
