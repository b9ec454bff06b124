"""Readers of the numbered log: what they make can be made again from it. None writes in the hot path."""
