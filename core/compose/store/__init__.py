"""All SQL of compositions."""
