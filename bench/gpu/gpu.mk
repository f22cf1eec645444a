# For a machine with an NVIDIA GPU: gpu-check compares the kernels with their twins in Go there, gpu-bench measures them, gpu-first
# does both and more in under ten minutes; all write to out/. gpu-bundle packs what they need, for a machine without Go.
.DEFAULT_GOAL := build
.PHONY: gpu-programs gpu-check gpu-bench gpu-first gpu-first-fake gpu-bundle gpu-counts

GPU_BUNDLE := out/gpu-bundle
GPU_ARCHIVE := out/f2pad-gpu.tar.gz
GPU_ARCHIVE_MAX := 60000000
GPU_FLAGS := -tags cuda -ldflags "-s -w"

gpu-programs:
	@rm -rf $(GPU_BUNDLE) && mkdir -p $(GPU_BUNDLE)
	$(CUDA_ENV) $(GO) build $(GPU_FLAGS) -o $(GPU_BUNDLE)/f2pad ./cmd/f2pad
	$(CUDA_ENV) $(GO) build $(GPU_FLAGS) -o $(GPU_BUNDLE)/gpubench ./bench/gpu
	$(CUDA_ENV) $(GO) test -c $(GPU_FLAGS) -o $(GPU_BUNDLE)/gpu.test ./cgo/gpu
	$(CUDA_ENV) $(GO) test -c $(GPU_FLAGS) -o $(GPU_BUNDLE)/cuda.test ./cgo/cuda
	cp bench/gpu/gpu-*.sh bench/peers/gpu_torch.py $(GPU_BUNDLE)

# SANITIZE=--sanitize runs the kernels under compute-sanitizer, too.
gpu-check: gpu-programs
	OUT=out $(GPU_BUNDLE)/gpu-check.sh $(SANITIZE)

# GPU_BENCH is for what gpubench takes: GPU_BENCH="-quick -run blur".
gpu-bench: gpu-programs
	OUT=out $(GPU_BUNDLE)/gpu-bench.sh $(GPU_BENCH)

# GPU_FIRST names stages, if not all.
gpu-first: gpu-programs
	OUT=out $(GPU_BUNDLE)/gpu-first.sh $(GPU_FIRST)

# gpu-first on the fake driver: not to measure anything, but so that it works when there is a card. .ci/run does, without the stage
# "tests": on the fake driver those are make test-gpu and make test-gpu-long. FAKE_FIRST=tests runs it, which takes minutes.
FAKE_FIRST ?= card open far ceilings convolutions loop iteration kernels hammer copies ncu sanitizer
gpu-first-fake: gpu-programs
	@mkdir -p out/fake
	lib=$$($(GO_ALL) run bench/gpu/gen_fake.go) && \
		F2PAD_LIBCUDA=$$lib SLOWER=20 LIMIT=7200 OUT=out/fake PYTHON=no-python $(GPU_BUNDLE)/gpu-first.sh $(FAKE_FIRST)

# What can be said of a GPU without one: instructions, registers and occupancy by NVIDIA's assembler (make nvcc fetches it), and what refining
# images asks of a device, counted on a driver that computes nothing. Some four minutes on 2 cores. COUNTS is for what the program
# takes, COUNTS_PAGE where its page goes.
COUNTS ?=
COUNTS_PAGE ?= bench/results/$(shell date -u +%Y-%m-%d)-gpu-counts.md
gpu-counts:
	@home="$(NVCC_HOME)" && disassembler=$$(kernels/nvcc.sh nvdisasm) && test -n "$$home" && mkdir -p out && \
		$(GO_ALL) run ./bench/gpu -resnet out/resnet18.onnx && \
		$(CUDA_ENV) $(GO) run -tags cuda ./bench/gpu/counts -ptxas "$$home/bin/ptxas" -nvdisasm "$$disassembler/bin/nvdisasm" \
			-backbone out/resnet18.onnx -out $(COUNTS_PAGE) $(COUNTS)

gpu-bundle: gpu-programs
	tar -czf $(GPU_ARCHIVE) -C $(dir $(GPU_BUNDLE)) $(notdir $(GPU_BUNDLE))
	@size=$$(wc -c < $(GPU_ARCHIVE)); echo "$(GPU_ARCHIVE): $$size bytes"; \
		test $$size -le $(GPU_ARCHIVE_MAX) || { echo "$(GPU_ARCHIVE) is larger than $(GPU_ARCHIVE_MAX) bytes"; exit 1; }
