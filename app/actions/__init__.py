"""What screens, routes and commands call: each checks the permission, owns its transaction, writes the audit."""
