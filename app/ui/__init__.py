"""What two screens share: safe text, numbers, charts, tables, badges, views of a job."""
