# How f2pad serve does under half its capacity, all of it and twice as much, and with hostile clients; writes out/serve.md. SERVE is for
# what bench/serve takes: SERVE="-seconds 600" is the long run, SERVE="-refine f2pad".
.PHONY: bench-serve
bench-serve: build
	$(GO) run ./bench/serve $(SERVE) $(BIN)
