"""The adapter that catalogue entries describe."""
