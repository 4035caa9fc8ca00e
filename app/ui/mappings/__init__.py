"""The screen of mappings: list, editor, result."""
