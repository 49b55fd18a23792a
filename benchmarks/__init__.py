"""Speed and memory of exact meta-gradients beside the alternatives; see `python -m benchmarks --help`."""
