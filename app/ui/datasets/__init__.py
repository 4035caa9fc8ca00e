"""The screen of datasets: list, one in full, its problems and versions."""
