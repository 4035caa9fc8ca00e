"""All SQL of analytics: single requests, what they add up to, names, and judgements."""
