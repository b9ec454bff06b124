"""Holds the tag library `ui`."""
