# Measures the program on this CPU against what others do the same work with, and writes out/cpu-bench.md, a page as in
# bench/results, and out/cpu-bench.json. bench/README.md says how to install the peers; PEER_PYTHON names the Python that has
# them, python3 if it is empty. BENCH is for what bench/cpu takes: BENCH="-quick", BENCH="-run network -threads 1".
.PHONY: bench-cpu
export PEER_PYTHON

bench-cpu:
	$(GO) run ./bench/cpu $(BENCH)
