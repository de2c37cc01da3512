"""What the benchmark of the foreground is made of."""
