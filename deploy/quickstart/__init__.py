"""The demo: a small chat model, two adapters trained on this machine, and a conversation."""
