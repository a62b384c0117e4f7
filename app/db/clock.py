"""The database's clock: leases and expiries go by it, so replicas' clocks need not agree."""

from sqlalchemy import BigInteger, ColumnElement, cast, extract, func

NOW: ColumnElement[int] = cast(extract("epoch", func.now()), BigInteger)
"""Unix seconds; the same throughout a transaction on PostgreSQL."""
