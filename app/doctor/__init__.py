"""Looks at a deployment from the inside, part by part, and says what to change."""
