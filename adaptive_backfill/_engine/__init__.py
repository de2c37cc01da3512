"""The engine: one loop that carries out what the core decides, over ports."""
