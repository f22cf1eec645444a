#!/bin/sh
# Fetches NVIDIA's compiler of CUDA, nvcc, with its assembler, ptxas, into the user's cache, and prints the folder whose bin/ has
# them. They come in four Python packages, 125 MB: pip must be there and reach its index. What is in place already is left alone.
#
#     nvcc.sh [nvdisasm]
#
# With nvdisasm it does so for the disassembler, 5 MB, in a folder of its own.
set -eu

version=13.5.37
what=${1-nvcc}

fail() {
	echo "nvcc: $*" >&2
	exit 1
}

case $what in
	nvcc | nvdisasm) ;;
	*) fail "it fetches nvcc, or nvdisasm, not $what" ;;
esac
case $(uname -s)-$(uname -m) in
	Linux-x86_64) ;;
	*) fail "no package is pinned for $(uname -s)/$(uname -m): make nvcc-check NVCC_HOME=FOLDER takes a toolkit of your own" ;;
esac
cache=${XDG_CACHE_HOME:-${HOME:?is not set, nor is XDG_CACHE_HOME}/.cache}/f2pad/$what
if [ -e "$cache/$version/bin/$what" ]; then
	echo "$cache/$version"
	exit
fi

if command -v pip >/dev/null; then
	pip="pip"
elif command -v pip3 >/dev/null; then
	pip="pip3"
else
	fail "pip is not installed: it fetches the packages that hold the compiler"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.install.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

case $what in
	nvcc) size="125 MB" programs="bin/nvcc bin/ptxas nvvm/bin/cicc" && cat >"$work/packages.txt" <<END
nvidia-cuda-nvcc==$version --hash=sha256:f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7
nvidia-nvvm==$version --hash=sha256:c41bfa362e407405163f103c2229f0765f8cc2ed7d148b754dc77f228bf7e070
nvidia-cuda-crt==$version --hash=sha256:e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29
nvidia-cuda-runtime==$version --hash=sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d
END
		;;
	nvdisasm) size="5 MB" programs=bin/nvdisasm && cat >"$work/packages.txt" <<END
nvidia-cuda-nvdisasm==$version --hash=sha256:d3fdbdd49fa53e2e4aacd3db8259d052bd2b049ececdcb69e92e083c6728e7ca
END
		;;
esac
echo "nvcc: fetching nvidia-cuda-$what $version and what it needs, $size" >&2
PIP_ROOT_USER_ACTION=ignore $pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: --no-compile --require-hashes \
	--target "$work/packages" -r "$work/packages.txt" >&2 ||
	fail "pip could not fetch nvidia-cuda-$what $version: is its index within reach?"
home=$work/packages/nvidia/cu13
for program in $programs; do
	[ -x "$home/$program" ] || fail "the packages hold no $(basename "$program")"
done
# What makes programs of PTX is of no use here.
rm -rf "$home/bin/nvlink" "$home/lib"
rm -rf "${cache:?}/$version"
mv "$home" "$cache/$version"
echo "$cache/$version"
