# Everything is pinned: Go by go.mod's go line, libraries and tools by go.mod and go.sum.
GO ?= go
BIN := bin/f2pad

.PHONY: build test test-gpu race race-gpu ptx ptx-check lint fmt vet staticcheck portable layers demo bench bench-memory torture tiles fuzz clean

# CUDA goes in where there is a C compiler on Linux; it needs no CUDA toolkit, and the program runs without a driver, too.
# CUDA=0 leaves it out.
CUDA ?= $(if $(and $(filter linux,$(shell $(GO) env GOOS)),$(shell command -v $(firstword $(shell $(GO) env CC)))),1,0)
include cgo/driver/cuda.mk
include bench/gpu/gpu.mk
include bench/cpu/cpu.mk
include bench/accuracy/accuracy.mk
include cgo/ort/ort.mk
include engine/backbone/pretrained/pretrained.mk
include engine/internal/gemm/gemm.mk

# GCS=1 puts Google Cloud Storage (gs://) in, which makes the program half as large again.
GCS ?= 0
comma := ,
empty :=
space := $(empty) $(empty)
ifeq ($(CUDA),1)
GO_CUDA := $(CUDA_ENV) $(GO)
else
GO_CUDA := CGO_ENABLED=0 $(GO)
endif
TAGS := $(addprefix -tags ,$(subst $(space),$(comma),$(strip $(if $(filter 1,$(CUDA)),cuda) $(if $(filter 1,$(GCS)),gcs))))

build:
	@test $(CUDA) = 1 || echo "no C compiler on Linux, or CUDA=0: building without CUDA"
	$(GO_CUDA) build -trimpath $(TAGS) -o $(BIN) ./cmd/f2pad

test:
	$(GO) test ./...
	@$(MAKE) --no-print-directory test-gpu

# The GPU's side: on a fake driver that runs the kernels in an emulation, which g++ compiles.
GPU_PACKAGES := ./cgo/... ./cmd/... ./bench/...
ifeq ($(CUDA),1)
test-gpu:
	$(GO_CUDA) test $(TAGS) ./cgo/... ./bench/...
	$(GO_CUDA) test $(TAGS) -run CUDA ./cmd/...
else
test-gpu:
	@echo "SKIPPED: the GPU's side is not tested: there is no C compiler"
endif

# The race detector needs a C compiler. It is some ten times slower: -short leaves the long tests out.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 40m ./...

race-gpu:
	$(CUDA_ENV) $(GO) test -race -short -tags cuda ./cgo/...

# The kernels' PTX, by clang, which needs no CUDA toolkit, or with PTX_COMPILER="-nvcc nvcc".
PTX_COMPILER ?= clang++-19
ptx:
	cd kernels && $(GO) run gen_ptx.go $(PTX_COMPILER)

# What the assembler says of the PTX: registers, spills, shared memory. ptxas is part of a CUDA toolkit.
PTXAS ?= ptxas
ptx-check:
	@for arch in sm_80 sm_90; do for f in kernels/ptx/*.ptx; do \
		echo "$$f for $$arch"; $(PTXAS) -v -arch=$$arch -o /dev/null $$f 2>&1 | grep -E 'Compiling|Used|spill|rror' || exit 1; \
	done; done

lint: fmt vet staticcheck portable layers asm-check

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }

vet:
	$(GO) vet ./...
ifeq ($(CUDA),1)
	$(GO_CUDA) vet $(TAGS) $(GPU_PACKAGES)
endif

# Built by itself: it must not be linked with what CUDA_ENV says.
staticcheck:
	$(GO) tool staticcheck ./...
ifeq ($(CUDA),1)
	$(GO) build -o bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(CUDA_ENV) bin/staticcheck $(TAGS) $(GPU_PACKAGES)
endif

# The engine is pure Go and builds everywhere.
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64
portable:
	@for p in $(PLATFORMS); do \
		echo "build ./engine/... ./cmd/... for $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./engine/... ./cmd/... || exit 1; \
	done

# Imports point down only: the engine knows nothing of what is built on it.
layers:
	@for p in $(PLATFORMS); do \
		deps=$$(CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) list -deps ./engine/...) || exit 1; \
		up=$$(echo "$$deps" | grep -E '^f2pad\.example/(cgo|kernels|bench|cmd)(/|$$)|^gorgonia.org/cu(/|$$)'); \
		test -z "$$up" || { echo "engine must not import (on $$p):"; echo "$$up"; exit 1; }; \
	done
	$(GO) test ./engine/internal/floors

demo: build
	$(BIN) demo --out demo

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Peak memory of score on 200 and on 2,000 images.
bench-memory: build
	$(GO) run ./bench/memory $(BIN)

# A hundred kills of score (folders, archives, rows, objects, shards), merge, fit and synth at random moments, resumed and compared with uninterrupted runs; ten minutes at most.
torture: build
	$(GO) run ./bench/torture $(BIN)

# The whole evaluation on the magnetic tiles with `scatter`: both methods at both sizes. Some ten minutes on 2 cores.
TILES ?= ../shared/data/magnetic-tile
tiles: build
	@test -d $(TILES) || { echo "no data set at $(TILES): set TILES to a folder in MVTec AD's layout"; exit 1; }
	@mkdir -p out/tiles
	@for method in padim patchcore; do for size in 256 native; do \
		name=out/tiles/$$method-$$size; \
		$(BIN) fit --data $(TILES) --method $$method --size $$size --out $$name.f2pad || exit 1; \
		$(BIN) eval --data $(TILES) --model $$name.f2pad --report $$name.html || exit 1; \
	done; done

# Every fuzz target for a short while. What is merely interesting is not made smaller for a minute, as is the default.
FUZZTIME ?= 10s
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./$$(dirname $$file) || exit 1; \
		done; \
	done

clean:
	rm -rf bin demo out
