#!/usr/bin/env bash
# Records first/, what gpu-first.sh leaves after a run on the fake driver: make gpu-first-fake, then this, from this folder.
set -euo pipefail
rm -rf first && mkdir first
cp ../../../out/fake/gpu-first*.json* first
for stage in tests copies ncu iteration sanitizer; do
	test -e ../../../out/fake/gpu-first-$stage.log && cp ../../../out/fake/gpu-first-$stage.log first
done
