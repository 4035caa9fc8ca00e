"""Pure numbers: intervals and comparisons, each with its source."""
