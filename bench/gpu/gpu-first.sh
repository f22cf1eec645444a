#!/usr/bin/env bash
# All that the GPU at hand can tell in under ten minutes: whether the kernels are right on it, how fast they are, how fast the
# program is. For a card that is lent for minutes: it needs a driver and what lies beside it (make gpu-bundle), and no Go, compiler
# or CUDA toolkit. PyTorch, ncu and compute-sanitizer are used where they are.
#
#   ./gpu-first.sh               all stages
#   ./gpu-first.sh STAGE ...     these stages
#
# Every stage has its own limit; one that fails, or is stopped, does not keep the others from running. The folder that OUT names
# (the current one, if nothing) receives gpu-first.jsonl, a line for each stage and case as soon as it is over, what the stages said
# (gpu-first-STAGE.log), and the figures of gpubench (gpu-first-open.json, gpu-first-kernels.json). The summary comes last. LIMIT is
# how many seconds all of it may take, 570 if nothing; SLOWER multiplies the limits of stages, for a fake driver.
#
# The exit code is 0 if all stages passed or were left out for lack of a tool, else 1. No setting of the card is changed.
set -uo pipefail

# Stages in order, with their seconds. A new one is a line here and a function below.
stages="
	card 10
	open 40
	tests 150
	hammer 40
	copies 20
	kernels 120
	loop 90
	ncu 60
	sanitizer 300
"

card() {
	if command -v nvidia-smi >/dev/null; then
		nvidia-smi -L
		nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv
	else
		echo "no nvidia-smi here"
	fi
	./f2pad devices
}

# Compiles every kernel: registers, local memory, blocks on a multiprocessor.
open() { ./gpubench -open -json "$out/gpu-first-open.json"; }

# Every kernel against its twin in Go, and what is built on them.
tests() { LIMIT=$((seconds - 5)) ./gpu-check.sh; }

# The same with fresh data, over and over, beside another stream's load.
hammer() { F2PAD_GPU=1 F2PAD_HAMMER=${brief-$((seconds * 3 / 4))s} ./gpu.test -test.v -test.run '^TestHammer$'; }

# Copies over the bus from pinned memory, and the cost of calls and launches.
copies() { F2PAD_GPU=1 ./gpu.test -test.run '^$' -test.bench 'Copies|Launch|Call' -test.benchtime "$benchtime"; }

# The card's ceilings, and the kernels' times beside them and PyTorch's.
kernels() {
	./gpubench -quick -limit "${brief-$((seconds * 2 / 3))s}" -peer "${PYTHON-python3}" -json "$out/gpu-first-kernels.json"
}

# The program on images, by batch, and the CPU beside it.
loop() {
	local data=$work/data model=$work/model.f2pad run batch device start ns
	./f2pad synth --out "$data" --texture weave --train "$train" --test "$images" --size "$side" --seed 1 &&
		./f2pad fit --data "$data" --method padim --device cpu --out "$model" || return
	for run in $runs; do
		batch=${run%@*} device=${run#*@} start=$(date +%s%N)
		./f2pad score --model "$model" --out "$work/$batch-$device" --batch "$batch" --device "$device" --profile "$data/test" || return
		ns=$(($(date +%s%N) - start))
		note loop "batch $batch on $device" ms $((ns / 1000000)) images "$images"
	done
}

ncu() {
	need ncu
	command ncu --csv --section SpeedOfLight --section Occupancy --section LaunchStats --section MemoryWorkloadAnalysis \
		--kernel-name 'regex:knn_products|mahalanobis|pixel_step' --launch-count 12 --log-file "$out/gpu-first-ncu.csv" \
		./gpubench -quick -peer '' -run 'knn|mahalanobis|pixel_step'
	local code=$?
	grep -q ERR_NVGPUCTRPERM "$out/gpu-first-ncu.csv" && lacks "the permission to read the card's counters"
	return $code
}

# What time is left for the kernels' accesses, kernel by kernel.
sanitizer() {
	need compute-sanitizer
	local kernel log
	for kernel in base_map blur ceiling compose conv coreset fill_min flow knn mahalanobis matmul max_pool pixel_step pointwise separable softmax upsample; do
		[ $((seconds - SECONDS)) -gt 5 ] || { echo "NOT REACHED: $kernel and what follows"; return 0; }
		log=$work/$kernel.log
		F2PAD_GPU=1 timeout -k 5 $((seconds - SECONDS - 2)) compute-sanitizer --tool memcheck --error-exitcode 9 \
			./gpu.test -test.run "^TestKernels\$/^$kernel\$" >"$log" 2>&1
		case $? in
		0) note sanitizer "$kernel" errors 0 ;;
		124 | 137) echo "NOT REACHED: the end of $kernel"; return 0 ;;
		*) cat "$log"; return 1 ;;
		esac
	done
}

# note STAGE CASE KEY VALUE ...: adds a line to the results; values are numbers.
note() {
	local line="{\"stage\":\"$1\",\"case\":\"$2\""
	shift 2
	while [ $# -gt 1 ]; do line+=",\"$1\":$2"; shift 2; done
	echo "$line,\"not_a_gpu\":$fake}" >>"$out/gpu-first.jsonl"
}

# lacks WHAT ends a stage that cannot do without, loudly.
lacks() {
	echo "LEFT OUT: $stage: there is no $1 here"
	exit 77
}
need() { type -P "$1" >/dev/null || lacks "$1"; }

out=$(cd "${OUT:-.}" && pwd) && cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
export OUT=$out
fake=false benchtime=0.2s train=24 images=32 side=256 runs="1@cuda:0 8@cuda:0 32@cuda:0 32@cpu"
if test -n "${F2PAD_LIBCUDA-}"; then # an emulation, on which all takes a thousand times as long
	fake=true brief=1ms benchtime=1x train=4 images=1 side=32 runs="1@cuda:0 1@cpu"
fi

# A stage is a process of its own, which timeout can end.
if [ "${1-}" = --stage ]; then
	stage=$2 seconds=$3 work=$4
	"$stage"
	exit
fi

limit=${LIMIT-570} slower=${SLOWER-1} failed=0 summary=
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT || exit 1
for name; do
	grep -qE "^	$name [0-9]+$" <<<"$stages" || { echo "gpu-first: no stage $name; there are:$stages" >&2; exit 2; }
done
: >"$out/gpu-first.jsonl"
[ $fake = false ] || echo "NOT A GPU, perhaps: F2PAD_LIBCUDA names the driver $F2PAD_LIBCUDA"
date -u '+%Y-%m-%d %H:%M UTC'
while read -r stage seconds; do
	[ -n "$stage" ] && { [ $# = 0 ] || [[ " $* " = *" $stage "* ]]; } || continue
	start=$SECONDS log=$out/gpu-first-$stage.log
	seconds=$((seconds * slower))
	[ $seconds -lt $((limit - start)) ] || seconds=$((limit - start))
	if [ $seconds -le 0 ]; then
		status="OUT OF TIME" code=124
		echo "no time is left of $limit s" >"$log"
	else
		echo "== $stage, $seconds s at most"
		timeout -k 5 $seconds bash "./$(basename "${BASH_SOURCE[0]}")" --stage "$stage" $seconds "$work" </dev/null >"$log" 2>&1
		code=$?
		case $code in
		0) status=passed ;;
		77) status="LEFT OUT" ;;
		124 | 137) status="OUT OF TIME" ;;
		*) status=FAILED ;;
		esac
		tail -n 12 "$log"
	fi
	[ $code = 0 ] || [ $code = 77 ] || failed=1
	printf '{"stage":"%s","status":"%s","code":%d,"seconds":%d,"not_a_gpu":%s}\n' "$stage" "$status" $code $((SECONDS - start)) $fake \
		>>"$out/gpu-first.jsonl"
	summary+=$(printf '\n  %-10s %-12s %4d s' "$stage" "$status" $((SECONDS - start)))
	[ $code = 0 ] || summary+="  $(tail -n 1 "$log")"
done <<<"$stages"

echo "== summary"
[ $fake = false ] || echo "NOT A GPU: no time below means anything"
grep -hE '^ +[a-z_]+ +[0-9]+ comparisons, closest' "$out/gpu-first-tests.log" 2>/dev/null
sed -n '/^\(NOT A GPU: \)\?kernel  *size/,$p' "$out/gpu-first-kernels.log" 2>/dev/null
grep -h '"case":"batch' "$out/gpu-first.jsonl"
grep -hE '^(NOT A GPU: )?(NO PEER|NOT REACHED|OUT OF MEMORY)' "$out"/gpu-first-*.log 2>/dev/null
echo "stages:$summary"
[ $failed = 0 ] && echo "gpu-first: passed"
exit $failed
