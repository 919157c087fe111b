"""What is collected, declared once."""
