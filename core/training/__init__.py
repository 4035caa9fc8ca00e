"""Training runs: what is asked for, what it will cost, the run itself, and its evaluation."""
