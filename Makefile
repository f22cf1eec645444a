# Everything is pinned: Go by go.mod's go line, libraries and tools by go.mod and go.sum.
GO ?= go
BIN := bin/f2pad

.PHONY: build test race lint fmt vet staticcheck portable layers demo bench bench-memory tiles fuzz clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/f2pad

test:
	$(GO) test ./...

# The race detector needs a C compiler. It is some ten times slower: -short leaves the long tests out.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 40m ./...

lint: fmt vet staticcheck portable layers

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) tool staticcheck ./...

# The engine is pure Go and builds everywhere.
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64
portable:
	@for p in $(PLATFORMS); do \
		echo "build ./engine/... for $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./engine/... || exit 1; \
	done

# Imports point down only: the engine knows nothing of what is built on it.
layers:
	@for p in $(PLATFORMS); do \
		deps=$$(CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) list -deps ./engine/...) || exit 1; \
		up=$$(echo "$$deps" | grep -E '^f2pad/(cgo|kernels|bench|cmd)(/|$$)|^gorgonia.org/cu(/|$$)'); \
		test -z "$$up" || { echo "engine must not import (on $$p):"; echo "$$up"; exit 1; }; \
	done

demo: build
	$(BIN) demo --out demo

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Peak memory of score on 200 and on 2,000 images.
bench-memory: build
	$(GO) run ./bench/memory $(BIN)

# The whole evaluation on real images, the table of README.md: both methods at both sizes. Some ten minutes on 2 cores.
TILES ?= ../shared/data/magnetic-tile
tiles: build
	@test -d $(TILES) || { echo "no data set at $(TILES): set TILES to a folder in MVTec AD's layout"; exit 1; }
	@mkdir -p out/tiles
	@for method in padim patchcore; do for size in 256 native; do \
		name=out/tiles/$$method-$$size; \
		$(BIN) fit --data $(TILES) --method $$method --size $$size --out $$name.f2pad || exit 1; \
		$(BIN) eval --data $(TILES) --model $$name.f2pad --report $$name.html || exit 1; \
	done; done

# Every fuzz target for a short while.
FUZZTIME ?= 10s
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done; \
	done

clean:
	rm -rf bin demo out
