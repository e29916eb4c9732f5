"""What was measured before: every result is kept in one file, without a server."""
