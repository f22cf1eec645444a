#!/usr/bin/env bash
# Checks on the GPU at hand that every kernel gives what its twin in Go gives, and that what is built on the kernels works.
# It needs a driver, and, beside itself, gpu.test and cuda.test, the compiled tests of cgo/gpu and cgo/cuda (make gpu-bundle);
# no Go and no CUDA toolkit.
#
#   ./gpu-check.sh               the tests; none may be skipped, and those named below must be among them
#   ./gpu-check.sh --sanitize    the kernels once more under compute-sanitizer, for bad accesses and for races
#
# The folder that OUT names (the current one, if nothing) receives the tests' output. LIMIT is how many seconds all of it may take,
# 540 if nothing: what it stops, or leaves no time for, has failed. No setting of the card is changed.
set -uo pipefail
out=$(cd "${OUT:-.}" && pwd) && cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
sanitize=0 limit=${LIMIT-540}
case "${1-}" in
'') ;;
--sanitize) sanitize=1 ;;
*)
	echo "gpu-check: unknown argument $1" >&2
	exit 2
	;;
esac

# What must have run and passed.
required_gpu="TestKernels
	TestKernels/base_map TestKernels/blur TestKernels/ceiling TestKernels/cells TestKernels/conv
	TestKernels/coreset TestKernels/cut TestKernels/embed TestKernels/energy TestKernels/fill_min TestKernels/fill_search
	TestKernels/flow TestKernels/knn TestKernels/mahalanobis TestKernels/matmul TestKernels/max_pool TestKernels/norm_conv
	TestKernels/pixel_step TestKernels/pointwise TestKernels/regions TestKernels/rescale TestKernels/runs TestKernels/separable TestKernels/softmax
	TestKernels/upsample
	TestDevices TestKernelsAreListed TestMemory TestMemoryOfAStream TestCopies TestPinned TestEvents TestCapture TestConcurrentUse TestCloseWhileInUse
	TestCompiledKernelsAreKept TestModulesThatDoNotCompile TestLaunchRefuses"
required_cuda="TestPlace TestHeads TestHeadsInParts TestDetector TestEngineOnTheGPU TestEngineOnTheGPUAgrees TestExecutor TestFloat16"

# What cannot run here: tests of what a fake driver does or counts, and one that reads the sources; and those that gpu-first.sh runs by themselves.
leave_out='^(TestFake.*|TestStubHasTheSameAPI|TestHammer|TestFar)$'

if command -v nvidia-smi >/dev/null; then
	nvidia-smi -L
	nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
else
	echo "no nvidia-smi here"
fi
test -z "${F2PAD_LIBCUDA-}" || echo "NOT A GPU, perhaps: F2PAD_LIBCUDA names the driver $F2PAD_LIBCUDA"
date -u '+%Y-%m-%d %H:%M UTC'

failed=0
fail() {
	echo "gpu-check: FAILED: $*"
	failed=1
}

# check NAME REQUIRED...: runs NAME.test, all of it.
check() {
	local name=$1 log="$out/$1.log" start=$SECONDS code=0
	shift
	[ $((limit - start)) -gt 0 ] || { fail "$name.test: no time is left of $limit s"; return; }
	F2PAD_GPU=1 "./$name.test" -test.v -test.skip "$leave_out" -test.timeout $((limit - start))s >"$log" 2>&1 || code=$?
	echo "$name.test: exit code $code after $((SECONDS - start)) s, $(grep -cE '^ *--- PASS: ' "$log") passed; all output: $log"
	grep -E '^on a GPU' "$log"
	if [ "$code" != 0 ]; then
		fail "$name.test"
		grep -E '^ *--- FAIL: ' "$log" || tail -40 "$log"
	fi
	grep -E '^ *--- SKIP: ' "$log" && fail "$name.test skipped tests"
	for t in "$@"; do
		grep -qE "^ *--- PASS: $t \(" "$log" || fail "$name.test: $t has not run and passed"
	done
	# Of each kernel, or test, where it came closest to its tolerance.
	awk '
		function keep(share) {
			count[test]++
			if (!(test in worst) || share > worst[test]) { worst[test] = share; sub(/^ */, ""); line[test] = $0 }
		}
		/^=== (RUN|NAME|CONT) / { split($3, part, "/"); test = part[1] == "TestKernels" ? part[2] : part[1] }
		match($0, /[0-9.]+ % of the tolerance/) { keep(substr($0, RSTART) + 0) }
		/shares of the tolerances used:/ {
			most = 0
			for (i = 7; i <= NF; i++) if (100 * $i > most) most = 100 * $i
			keep(most)
		}
		END { for (t in worst) printf "  %-18s %4d comparisons, closest: %s\n", t, count[t], line[t] }
	' "$log" | sort
}

check gpu $required_gpu
check cuda $required_cuda

if [ $sanitize = 1 ]; then
	if ! command -v compute-sanitizer >/dev/null; then
		fail "there is no compute-sanitizer here"
	else
		for tool in memcheck racecheck; do
			log="$out/$tool.log" left=$((limit - SECONDS))
			[ $left -gt 0 ] || { fail "$tool: no time is left of $limit s"; continue; }
			F2PAD_GPU=1 timeout -k 5 $left compute-sanitizer --tool $tool --error-exitcode 9 \
				./gpu.test -test.v -test.run '^TestKernels$' >"$log" 2>&1 || fail "$tool: exit code $?"
			for t in $required_gpu; do
				case $t in TestKernels*) grep -qE "^ *--- PASS: $t \(" "$log" || fail "$tool: $t has not run and passed" ;; esac
			done
			echo "$tool: $(grep -E '(ERROR|RACECHECK) SUMMARY' "$log" || echo 'no summary'); all output: $log"
			grep -qE '(ERROR|RACECHECK) SUMMARY: 0 ' "$log" || fail "$tool found something, or did not finish"
		done
	fi
fi

[ $failed = 0 ] && echo "gpu-check: passed"
exit $failed
