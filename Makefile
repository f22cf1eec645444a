# Everything is pinned: Go by go.mod's go line, libraries and tools by go.mod and go.sum.
GO ?= go
BIN := bin/f2pad

.PHONY: build man release beam test test-gpu test-gpu-packages test-gpu-program test-gpu-long test-gcs test-beam test-release race race-gpu race-kernels ptx ptx-check nvcc nvcc-check lint fmt vet staticcheck portable layers demo bench bench-memory torture tiles fuzz clean

# CUDA goes in where there is a C compiler on Linux; it needs no CUDA toolkit, and the program runs without a driver, too.
# CUDA=0 leaves it out.
CUDA ?= $(if $(and $(filter linux,$(shell $(GO) env GOOS)),$(shell command -v $(firstword $(shell $(GO) env CC)))),1,0)
include cgo/driver/cuda.mk
include bench/gpu/gpu.mk
include bench/cpu/cpu.mk
include bench/accuracy/accuracy.mk
include bench/serve/serve.mk
include cgo/ort/ort.mk
include engine/backbone/pretrained/pretrained.mk
include engine/internal/gemm/gemm.mk

# GCS=1 puts Google Cloud Storage (gs://) in, which makes the program half as large again.
GCS ?= 0
comma := ,
empty :=
space := $(empty) $(empty)
# GO_ALL is for tests and checks of everything. Its environment is the build's: what is linked with other flags is compiled a second
# time, and so is all that stands on Go's net, hundreds of packages with the stores' SDKs. For the same reason -trimpath is a release's alone.
ifeq ($(CUDA),1)
ALL_ENV := $(CUDA_ENV)
GO_CUDA := $(CUDA_ENV) $(GO)
else
ALL_ENV :=
GO_CUDA := CGO_ENABLED=0 $(GO)
endif
GO_ALL := $(ALL_ENV) $(GO)
TAGS := $(addprefix -tags ,$(subst $(space),$(comma),$(strip $(if $(filter 1,$(CUDA)),cuda) $(if $(filter 1,$(GCS)),gcs))))

# VERSION=v1.2.3 makes it a release's: stripped, and the same bytes wherever it is built.
VERSION ?=
RELEASE_FLAGS = -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.release=$(VERSION)"

build:
	@test $(CUDA) = 1 || echo "no C compiler on Linux, or CUDA=0: building without CUDA"
	$(GO_CUDA) build $(if $(VERSION),$(RELEASE_FLAGS)) $(TAGS) -o $(BIN) ./cmd/f2pad

# The manual, as man pages.
man: build
	$(BIN) man --out dist/man

# What is published of a version, into dist: docs/installing.md. VERSION is by default what git says; DIRTY=1 takes what is not committed, too.
release:
	$(GO) run ./release -version "$(VERSION)" -out dist $(if $(DIRTY),-dirty)

# A package's limit is for one that hangs. On a busy machine some take ten minutes, which is Go's own.
LIMIT := -timeout 30m

test:
	$(GO_ALL) test $(LIMIT) ./...
	@$(MAKE) --no-print-directory test-gpu

# Makes a release of this tree twice, runs what is in it and installs it from its module proxy.
test-release:
	F2PAD_RELEASE=1 $(GO) test $(LIMIT) -run TestARelease ./release

# The GPU's side: on a fake driver that runs the kernels in an emulation, which g++ compiles.
GPU_PACKAGES := ./cgo/... ./cmd/... ./bench/...
ifeq ($(CUDA),1)
# Two commands side by side: each keeps one core busy for most of its time.
test-gpu:
	@$(MAKE) --no-print-directory -j2 test-gpu-packages test-gpu-program

test-gpu-packages:
	$(GO_CUDA) test $(TAGS) $(LIMIT) ./cgo/cuda ./cgo/driver ./cgo/fakecuda ./cgo/gpu ./bench/gpu ./bench/gpu/counts

test-gpu-program:
	$(GO_CUDA) test $(TAGS) $(LIMIT) -run CUDA ./cmd/...

# What the emulation takes longest for, two minutes of one core: places and the engine with each method, every operator and network in
# float16, a fit.
test-gpu-long:
	F2PAD_LONG=1 $(GO_CUDA) test $(TAGS) $(LIMIT) -run 'TestPlace|TestExecutor/float16|TestEngineOnTheGPU|TestCUDAFitAndEval' ./cgo/cuda ./cmd/f2pad
else
test-gpu test-gpu-long:
	@echo "SKIPPED: the GPU's side is not tested: there is no C compiler"
endif

# gs:// with a fake store. Google's SDK takes minutes to compile the first time.
test-gcs:
	$(GO) test $(LIMIT) -tags gcs -run OfGoogle ./cmd/f2pad

# f2pad-beam is a module of its own (docs/beam.md): nothing else depends on Beam, whose SDK takes minutes to compile the first time.
beam:
	cd beam && $(if $(filter 0,$(CUDA)),CGO_ENABLED=0) $(GO_ALL) build -o $(abspath bin)/f2pad-beam ./f2pad-beam

test-beam:
	cd beam && $(GO_ALL) vet ./... && $(GO_ALL) test $(LIMIT) ./...

# The race detector needs a C compiler. It is some ten times slower: -short leaves the long tests out.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 40m ./...

# Without the suites of kernels, operators, heads and detectors, which call one thing after another.
race-gpu:
	$(CUDA_ENV) $(GO) test -race -short $(LIMIT) -skip '^(TestKernels|TestExecutor|TestSuite|TestHeads|TestHeadsInParts|TestDetector|TestFar)$$' -tags cuda ./cgo/...

# The kernels' own races: their suites in an emulation that watches for them.
race-kernels:
	F2PAD_RACES=1 $(GO_ALL) test $(LIMIT) -run 'TestKernels|TestRaces' ./kernels

# The kernels' PTX, by clang, which needs no CUDA toolkit, or with PTX_COMPILER="-nvcc nvcc".
PTX_COMPILER ?= clang++-19
ptx:
	cd kernels && $(GO) run gen_ptx.go $(PTX_COMPILER)

# What the assembler makes of the PTX: registers, stack, shared memory. Spilled registers are a failure. ptxas is part of a CUDA
# toolkit; make nvcc fetches one, too.
PTXAS ?= ptxas
ptx-check:
	@for arch in sm_80 sm_90; do for f in kernels/ptx/*.ptx; do \
		echo "$$f for $$arch"; \
		said=$$($(PTXAS) -v -arch=$$arch -o /dev/null $$f 2>&1) || { echo "$$said"; exit 1; }; \
		echo "$$said" | awk '/Compiling entry/ { name = $$7 } / spill stores/ { stack = $$0; spills = $$5 + $$9 } \
			/Used/ { sub(/.*Used/, ""); print "  " name ":" $$0; if (spills) { print "  SPILLS:" stack; bad = 1 } } \
			END { exit bad }' || exit 1; \
	done; done

# NVIDIA's compiler and assembler, in the user's cache: nobody needs them but nvcc-check and gpu-counts.
nvcc:
	@kernels/nvcc.sh

# That nvcc takes the kernels, too, and that its assembler finds room for what is in the PTX. NVCC_HOME names a toolkit's folder.
NVCC_HOME ?= $(shell kernels/nvcc.sh)
nvcc-check:
	@home="$(NVCC_HOME)"; test -n "$$home" || exit 1; \
		(cd kernels && $(GO) run gen_ptx.go -nvcc -out ../out/nvcc "$$home/bin/nvcc") && \
		$(MAKE) --no-print-directory ptx-check PTXAS="$$home/bin/ptxas"

lint: fmt vet staticcheck portable layers asm-check

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }

vet:
	$(GO_ALL) vet ./...
ifeq ($(CUDA),1)
	$(GO_CUDA) vet $(TAGS) $(GPU_PACKAGES)
endif

# Built by itself: it must not be linked with what CUDA_ENV says.
staticcheck:
	$(GO) build -o bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(ALL_ENV) bin/staticcheck ./...
ifeq ($(CUDA),1)
	$(CUDA_ENV) bin/staticcheck $(TAGS) $(GPU_PACKAGES)
endif

# All of it builds everywhere without cgo: types are checked, in what is imported, too, but no code is generated, which would take a
# minute or two for each platform (make release does).
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64
portable:
	$(GO) run ./release/portable $(subst $(space),$(comma),$(PLATFORMS)) ./...

# Imports point down only: the engine knows nothing of what is built on it.
layers:
	@module=$$($(GO) list -m); for p in $(PLATFORMS); do \
		deps=$$(CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) list -deps ./engine/...) || exit 1; \
		up=$$(echo "$$deps" | grep -E "^$$module/(cgo|kernels|bench|cmd|release)(/|$$)|^gorgonia.org/cu(/|$$)"); \
		test -z "$$up" || { echo "engine must not import (on $$p):"; echo "$$up"; exit 1; }; \
	done
	$(GO_ALL) test ./engine/internal/floors

demo: build
	$(BIN) demo --out demo

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Peak memory of score on 200 and on 2,000 images.
bench-memory: build
	$(GO) run ./bench/memory $(BIN)

# A million small images, with twenty kills on the way: that all is there, the rate and the peak memory. Half an hour at 500 images a second.
.PHONY: bench-volume
VOLUME ?=
bench-volume: build
	$(GO) run ./bench/volume $(VOLUME) $(BIN)

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
	rm -rf bin demo out dist
