"""All SQL of experiments. Every function takes a session and a tenant; none commits."""
