"""Database engine and sessions, all tables, migrations, and atomic files."""
