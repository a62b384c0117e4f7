"""LoRA adapters as immutable, content-addressed artifacts: stored, cached, loaded, leased."""
