"""Servers that the contract suites need."""

from tests.fixtures.seaweedfs import seaweedfs

__all__ = ["seaweedfs"]
