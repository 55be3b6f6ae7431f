"""How fast it is: one module per question, run by ``python -m benchmarks``."""
