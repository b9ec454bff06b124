"""The ground under `make run` and the tests: a real PostgreSQL and OpenBao from wheels, and a supervisor.

Must never serve production, import Django or any app.
"""
