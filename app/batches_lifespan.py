"""Opens the batches' part of a replica: their service, and the work on them in the background."""
