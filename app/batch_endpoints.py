"""What a line of a batch may ask: each endpoint's service, called as its route would call it."""
