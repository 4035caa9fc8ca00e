"""The data browser: filters, a page of rows, raw rows beside harmonized ones."""
