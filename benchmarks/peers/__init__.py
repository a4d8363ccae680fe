"""The contenders of `benchmarks/peers.py`: their runtimes, workers, rounds and report."""
