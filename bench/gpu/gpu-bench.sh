#!/usr/bin/env bash
# Measures the kernels on the GPU at hand, against what the card can do and against PyTorch, if the Python that PYTHON names
# (python3, if nothing) has it. It needs a driver, and gpubench and gpu_torch.py beside itself (make gpu-bundle); no Go and no
# CUDA toolkit. Run gpu-check.sh before: what is wrong need not be measured.
#
#   ./gpu-bench.sh [-quick] [-run REGEXP] [-device N] ...    as gpubench -help says
#
# The folder that OUT names (the current one, if nothing) receives all figures, gpu-bench.json, and a page as in bench/results.
# No setting of the card is changed.
set -uo pipefail
out=$(cd "${OUT:-.}" && pwd) && cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

name=gpu
if command -v nvidia-smi >/dev/null; then
	nvidia-smi -L
	name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr 'A-Z' 'a-z' | tr -cs 'a-z0-9\n' '-')
else
	echo "no nvidia-smi here"
fi
files=(-json "$out/gpu-bench.json" -markdown "$out/$(date -u +%F)-gpu-$name.md")
test -z "${F2PAD_LIBCUDA-}" || files=() # another driver's times are not to be kept
./gpubench -peer "${PYTHON-python3}" "${files[@]}" "$@" 2>&1 | tee "$out/gpu-bench.txt"
