"""The schema's history, one revision a file; packaged, so that an installed service can migrate."""
