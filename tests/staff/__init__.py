"""The staff door, through HTTP."""
