"""Raw pages to typed tables and rejects: pure functions."""
