"""The parts of `benchmarks/table.py`: the database, the jobs, and the report."""
