"""Raw files of retailers, opened by content: text, JSON, Parquet, sheets."""
