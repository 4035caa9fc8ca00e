"""From any retailer's raw file to RMIS: mappings, their suggestion, their application, and what it proves."""
