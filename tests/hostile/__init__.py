"""Uploads that must be refused, made by code: no hostile file is kept in the repository."""
