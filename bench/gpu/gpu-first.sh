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
# (gpu-first-STAGE.log), the figures of gpubench (gpu-first-open.json, -ceilings, -convolutions, -kernels), of f2pad bench
# (gpu-first-loop-PRECISION-BATCH.json) and of PyTorch (gpu-first-iteration.jsonl), each case as soon as it is known. The summary
# comes last, and a page of all of it, gpu-first.md. LIMIT is how many seconds all of it may take, 570 if nothing; SLOWER multiplies
# the limits of stages, for a fake driver.
#
# The exit code is 0 if all stages passed or were left out for lack of a tool, else 1. No setting of the card is changed.
set -uo pipefail

# Stages in order, with their seconds. A new one is a line here and a function below.
stages="
	card 10
	open 40
	tests 130
	far 30
	ceilings 40
	convolutions 120
	loop 110
	iteration 60
	kernels 80
	hammer 25
	copies 10
	ncu 40
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

# Every kernel on arrays of more than 4 GiB, whose last items must have the bits of the first, and of one alone.
far() {
	F2PAD_GPU=1 ./gpu.test -test.v -test.run '^TestFar$' 2>&1 | tee "$work/far"
	local code=${PIPESTATUS[0]} one
	for one in $(sed -n 's|^ *--- PASS: TestFar/\([a-z_]*\) .*|\1|p' "$work/far"); do note far "$one" errors 0; done
	[ "$code" = 0 ] && grep -q -- '--- SKIP: TestFar ' "$work/far" && lacks "memory for arrays of more than 4 GiB"
	return "$code"
}

# The same with fresh data, over and over, beside another stream's load.
hammer() { F2PAD_GPU=1 F2PAD_HAMMER=${brief-$((seconds * 3 / 4))s} ./gpu.test -test.v -test.run '^TestHammer$'; }

# Copies of all sizes, and the cost of calls and launches.
copies() { F2PAD_GPU=1 ./gpu.test -test.run '^$' -test.bench 'Copies|Launch|Call' -test.benchtime "$benchtime"; }

# What the card's memory, its units and the bus give at best.
ceilings() { gpubench ceilings -probe; }

# Layers of networks, forward and gradient, ours beside cuDNN's, which PyTorch calls.
convolutions() { gpubench convolutions -run '^conv ' -limit $((seconds * 3 / 4))s; }

# All other kernels beside PyTorch.
kernels() { gpubench kernels -skip '^conv ' -limit "${brief-$((seconds * 3 / 4))s}"; }

# gpubench NAME ARGUMENTS: its figures go to gpu-first-NAME.json. Ceilings that the stage before has measured are not measured again.
gpubench() {
	local name=$1 measured=()
	shift
	[ "$name" = ceilings ] || [ ! -e "$out/gpu-first-ceilings.json" ] || measured=(-ceilings "$out/gpu-first-ceilings.json")
	./gpubench -quick -peer "${PYTHON-python3}" -json "$out/gpu-first-$name.json" "${measured[@]}" "$@"
}

# The program's own optimisation on the card, by batch, in both precisions. Each row's passes must give the same bits; runs with cpu
# in their names are on the CPU, too, whose maps the card's are compared with.
loop() {
	local model=$work/model.f2pad run precision batch count rest bad=0 device
	./gpubench -resnet "$work/resnet18.onnx" -side "$side" -width "$width" &&
		./f2pad synth --out "$work/data" --texture weave --train "$train" --test 1 --size "$side" --seed 1 &&
		./f2pad fit --data "$work/data" --method padim --backbone "$work/resnet18.onnx" --layers layer1,layer2,layer3 --size "$side" \
			--device cpu --out "$model" || return
	for run in $runs; do
		precision=${run%%-*} batch=${run##*-} rest=$((seconds - SECONDS - 3)) device=cuda:0
		count=$((batch < least ? least : batch))
		[[ $run != *cpu* ]] || device=cpu,cuda:0 count=$batch
		[ $rest -gt 0 ] || { echo "NOT REACHED: $run and what follows"; break; }
		timeout -k 5 $rest ./f2pad bench --model "$model" --device $device --precision "$precision" --refine f2pad \
			--scenario offline --batch "$batch" --count $count --size "$side" --seconds "$row" --cold 0 \
			--out "$out/gpu-first-loop-$run.json"
		case $? in
		0) note loop "$run" seconds_so_far $SECONDS ;;
		124 | 137) echo "NOT REACHED: the end of $run"; break ;;
		*) bad=1 ;;
		esac
	done
	return $bad
}

# What PyTorch takes for one iteration on the same network.
iteration() {
	local file=$out/gpu-first-iteration.jsonl case cases=() first code
	type -P "${PYTHON-python3}" >/dev/null || lacks "${PYTHON-python3}"
	for case in 32 8 1 128; do cases+=(--time padim_iteration "n=$case" "side=$side" compiled=0); done
	cases+=(--time padim_iteration n=32 "side=$side")
	timeout -k 5 $((seconds - 5)) "${PYTHON-python3}" ./gpu_torch.py "${cases[@]}" | tee "$file"
	code=${PIPESTATUS[0]} first=$(head -n 1 "$file")
	[[ $first != '{"error"'* ]] || { rm "$file"; lacks "PyTorch with CUDA"; }
	[ "$code" = 124 ] && echo "NOT REACHED: the rest" || return "$code"
}

# What the card's counters say of the kernels that matter most, each at one size.
ncu() {
	need ncu
	local run log bad=0 measured=()
	[ ! -e "$out/gpu-first-ceilings.json" ] || measured=(-ceilings "$out/gpu-first-ceilings.json")
	for run in \
		"conv_f16 ^conv wide50 layer2: .* forward, float16" \
		"knn_products ^knn_min 25088 x 20000 x 384" \
		"mahalanobis ^mahalanobis 3136 x 550, batch 16, gradient$" \
		"pixel_step ^pixel_step 32"; do
		[ $((seconds - SECONDS)) -gt 5 ] || { echo "NOT REACHED: ${run%% *} and what follows"; break; }
		log=$out/gpu-first-ncu-${run%% *}.csv
		command ncu --csv --section SpeedOfLight --section Occupancy --section LaunchStats --section MemoryWorkloadAnalysis \
			--kernel-name "regex:${run%% *}" --launch-count 3 --log-file "$log" \
			./gpubench -quick -peer '' "${measured[@]}" -run "${run#* }" || bad=1
		grep -qs ERR_NVGPUCTRPERM "$log" && lacks "permission to read the card's counters"
	done
	return $bad
}

# What time is left for the kernels' accesses, kernel by kernel.
sanitizer() {
	need compute-sanitizer
	local kernel log
	for kernel in base_map blur ceiling cells compose conv coreset cut embed energy fill_min fill_search flow knn mahalanobis matmul max_pool norm_conv pixel_step pointwise regions rescale runs separable softmax upsample; do
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
fake=false benchtime=0.2s train=24 side=256 width=64 least=16 row=3
runs="float16-32 float32-cpu-8 float16-cpu-8 float32-32 float16-128 float16-8 float16-1 float32-128 float32-8 float32-1"
if test -n "${F2PAD_LIBCUDA-}"; then # an emulation, on which all takes a thousand times as long
	fake=true brief=1ms benchtime=1x train=4 side=32 width=8 least=1 row=0.01 runs="float32-cpu-1 float16-cpu-1"
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
[ $# -gt 0 ] || rm -f "$out"/gpu-first*.json* "$out"/gpu-first*.log # of another run
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
	summary+=$(printf '\n  %-12s %-12s %4d s' "$stage" "$status" $((SECONDS - start)))
	[ $code = 0 ] || summary+="  $(tail -n 1 "$log")"
done <<<"$stages"

echo "== summary"
[ $fake = false ] || echo "NOT A GPU: no time below means anything"
grep -hE '^ +[a-z_]+ +[0-9]+ comparisons, closest' "$out/gpu-first-tests.log" 2>/dev/null
for log in convolutions kernels; do sed -n '/^\(NOT A GPU: \)\?\(kernel\|layer\)  *\(size\|ms\)/,$p' "$out/gpu-first-$log.log" 2>/dev/null; done
grep -hE '^(offline/device=.*images/s|.*image scores )' "$out/gpu-first-loop.log" 2>/dev/null
grep -hE '^(NOT A GPU: )?(NO PEER|NOT REACHED|OUT OF MEMORY|.*--- SKIP: TestFar)' "$out"/gpu-first-*.log 2>/dev/null
./gpubench -page "$out" || failed=1
echo "stages:$summary"
[ $failed = 0 ] && echo "gpu-first: passed"
exit $failed
