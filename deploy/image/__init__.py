"""What `deploy/Dockerfile` runs: each step is a script, so that it also runs without Docker."""
