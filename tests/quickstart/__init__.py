"""Tests of the quick start's own servers and supervisor."""
