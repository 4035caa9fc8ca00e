"""What each column of a report probably is: evidence from names, values, sums, documents and earlier mappings."""
