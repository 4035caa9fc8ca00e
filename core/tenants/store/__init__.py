"""All SQL of tenants, people, credentials, limits and the audit log."""
