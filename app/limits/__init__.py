"""Rate limits: plans of an operator, windows that are charged, budgets of single requests."""
