"""Servers for one machine: the PostgreSQL and Redis that `make run` and the tests start.

Nothing here imports Django: these modules work before settings exist. Production brings its own servers
through `DATABASE_URL` and `REDIS_URL` and never loads this package.
"""
