"""The parts of `benchmarks/pacing_sim.py`: plants, rules, and how they did."""
