"""The lake as a DuckDB database."""
