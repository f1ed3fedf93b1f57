"""What plugin authors test with: the golden runner and helpers."""
