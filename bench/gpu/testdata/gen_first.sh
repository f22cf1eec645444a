#!/usr/bin/env bash
# Records first/, what gpu-first.sh leaves after a run on the fake driver: make gpu-programs, then this. The stage tests is left out: it
# takes long there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bundle=$(cd "${BUNDLE-../../../out/gpu-bundle}" && pwd) lib=$(cd ../../.. && go run bench/gpu/gen_fake.go)
rm -rf first && mkdir first
F2PAD_LIBCUDA=$lib SLOWER=20 LIMIT=7200 OUT=first PYTHON=no-python "$bundle/gpu-first.sh" \
	card open far ceilings convolutions loop iteration kernels hammer copies ncu sanitizer
cd first
rm gpu-first.md
for log in *.log; do
	case $log in gpu-first-copies.log | gpu-first-iteration.log | gpu-first-ncu.log | gpu-first-sanitizer.log) ;; *) rm "$log" ;; esac
done
sed -i 's|"/[^"]*/model.f2pad"|"model.f2pad"|' gpu-first-loop-*.json # the folder is gone
