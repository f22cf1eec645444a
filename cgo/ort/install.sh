#!/bin/sh
# Installs ONNX Runtime's shared library for GOOS and GOARCH (this machine's by default) in the user's cache, where package ort
# looks for it, and prints its path. The library comes in the npm package onnxruntime-node: npm must be there and reach its
# registry. A library that is in place already is left alone.
set -eu

version=1.27.0
# The package's sha512: npm's "integrity" in hexadecimal.
sum=404cc6c2bbcd060bf8b8f55d9db1ec3861b81ba4fdea676570523c68028f8cc53cc0e3e956870f5dbea4dd01a46996a0553bf61bd0679dba3a67725d5ebd5f43

fail() {
	echo "ort: $*" >&2
	exit 1
}

goos=${GOOS:-$(uname -s | tr '[:upper:]' '[:lower:]')}
goarch=${GOARCH:-$(uname -m)}
case $goarch in
	amd64 | x86_64) goarch=amd64 cpu=x64 ;;
	arm64 | aarch64) goarch=arm64 cpu=arm64 ;;
	*) cpu=$goarch ;;
esac
case $goos-$goarch in
	linux-amd64 | linux-arm64) system=linux library=libonnxruntime.so.1 ;;
	darwin-arm64) system=darwin library=libonnxruntime.1.dylib ;;
	windows-amd64 | windows-arm64) system=win32 library=onnxruntime.dll ;;
	*) fail "onnxruntime-node $version has no library for $goos/$goarch; set F2PAD_ORT_LIB to one of your own" ;;
esac

folder=${XDG_CACHE_HOME:-${HOME:?is not set, nor is XDG_CACHE_HOME}/.cache}/f2pad/ort/$version/$goos-$goarch
if [ -e "$folder/$library" ]; then
	echo "$folder/$library"
	exit
fi

command -v npm >/dev/null || fail "npm is not installed: it fetches the package that holds the library"
if command -v sha512sum >/dev/null; then
	digest="sha512sum"
else
	digest="shasum -a 512"
fi

mkdir -p "$folder"
work=$(mktemp -d "$folder/.install.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "ort: fetching onnxruntime-node $version, 100 MB" >&2
(cd "$work" && npm pack --silent "onnxruntime-node@$version" >/dev/null) ||
	fail "npm could not fetch onnxruntime-node $version: is its registry within reach?"
package=$work/onnxruntime-node-$version.tgz
[ -f "$package" ] || fail "npm left no onnxruntime-node-$version.tgz"
got=$($digest <"$package")
[ "${got%% *}" = "$sum" ] || fail "onnxruntime-node $version has the wrong checksum: sha512 ${got%% *}, want $sum"

inside=package/bin/napi-v6/$system/$cpu
tar -xzf "$package" -C "$work" "$inside" || fail "the package does not unpack"
# What the library loads goes before it: once it is there, all is.
for file in "$work/$inside"/*.dll; do
	case $file in
		*'/*.dll' | */onnxruntime.dll) ;;
		*) mv -f "$file" "$folder/" ;;
	esac
done
mv -f "$work/$inside/$library" "$folder/$library" || fail "the package holds no $library"
echo "$folder/$library"
