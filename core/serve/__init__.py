"""One request: tenant, composition, generation, records."""
