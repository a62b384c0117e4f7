"""Other pools of this deployment: which models they serve, and how requests for these get there."""
