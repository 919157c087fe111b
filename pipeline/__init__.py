"""Every image, every day, in SQL."""
