"""Fixtures of every test, one module a kind of resource."""

pytest_plugins = ["tests.fixtures.databases"]
