"""RMIS: the one retail-media schema that every retailer file is harmonized into."""
