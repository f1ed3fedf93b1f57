"""The table's groups, one module each."""
