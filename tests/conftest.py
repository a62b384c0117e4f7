"""Fixtures of every test, one module a kind of resource."""

pytest_plugins = [
    "tests.fixtures.databases",
    "tests.fixtures.engines",
    "tests.fixtures.seaweedfs",
    "tests.fixtures.server",
    "tests.fixtures.smollm2",
]
