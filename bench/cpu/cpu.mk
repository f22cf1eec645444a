# Measures the program on this CPU against what others do the same work with, and writes out/cpu-bench.md, a page as in
# bench/results, and out/cpu-bench.json. bench/README.md says how to install the peers; PEER_PYTHON names the Python that has
# them, python3 if it is empty. BENCH is for what bench/cpu takes: BENCH="-quick", BENCH="-run network -threads 1".
.PHONY: bench-cpu
export PEER_PYTHON

bench-cpu:
	$(GO) run ./bench/cpu $(BENCH)

# Trains CFLOW-AD's flows in f2pad and in PyTorch on the same features and compares what they find; writes out/flow.md. FLOW is
# for what bench/flow takes: FLOW="-run tile".
.PHONY: bench-flow
bench-flow:
	$(GO) run ./bench/flow $(FLOW)
