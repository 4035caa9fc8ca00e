"""Seeded generators of simulated retail media: fictitious retailers, corpora, data sets and traffic."""
