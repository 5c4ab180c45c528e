"""Speed beside the peers: every kernel and the whole job, answers checked first (`python -m benchmarks`)."""
