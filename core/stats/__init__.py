"""Pure numbers: intervals, tests and comparisons, each with its source."""
