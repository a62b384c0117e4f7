"""Fixtures of every test, one module a kind of resource."""

pytest_plugins = [
    "tests.contract.groq_watch",
    "tests.fixtures.databases",
    "tests.fixtures.engines",
    "tests.fixtures.models",
    "tests.fixtures.redis",
    "tests.fixtures.seaweedfs",
    "tests.fixtures.server",
    "tests.fixtures.smollm2",
]
