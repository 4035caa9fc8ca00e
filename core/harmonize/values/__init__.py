"""From a raw cell to a value: the operations on numbers, times and identifiers as polars expressions."""
