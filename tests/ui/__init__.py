"""Tests of the look; `samples` is the contract between views and templates."""
