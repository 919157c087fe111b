"""Daily copies become versions."""
