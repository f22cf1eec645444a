#!/usr/bin/env python3
"""Writes the corpora of the fuzz targets: fuzz/ here, and FuzzFrame's in ../../testdata. Run it from its folder.

Python 3.12's standard library is all it needs. The files are the images beside it, spoilt in one place each."""

import os
import struct


def read(name):
    with open(name, "rb") as f:
        return f.read()


def put(folder, target, name, *args):
    os.makedirs(f"{folder}/fuzz/{target}", exist_ok=True)
    with open(f"{folder}/fuzz/{target}/{name}", "w") as f:
        f.write("go test fuzz v1\n" + "".join(a + "\n" for a in args))


def content(data):
    return '[]byte("' + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in data) + '")'


def sizes(*values):
    return [f"uint32({v})" for v in values]


webp = read("orient-6.webp")
odd = bytearray(webp[:30] + b"XTRA\x03\0\0\0abc\0" + webp[30:])
odd[4:8] = struct.pack("<I", len(odd) - 8)

jpeg = read("orient-6.jpg")
block = jpeg.index(b"Exif\0") + 6
many, far = bytearray(jpeg), bytearray(jpeg)
many[block + 8 : block + 10] = b"\xff\xff"
far[block + 4 : block + 8] = b"\x7f\xff\xff\xff"

progressive = read("progressive.jpg")
first = progressive.index(b"\xff\xda")
empty = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0\x7f\xff\0"
scans = progressive[:first] + 60 * empty + progressive[first:]

tags = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (273, 126), (277, 1), (278, 8), (279, 64)]
entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
circle = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 8) + bytes(64)

for target in "FuzzDecode", "FuzzOrientation":
    put(".", target, "webp-odd-chunk", content(odd))
    put(".", target, "exif-many-entries", content(many))
    put(".", target, "exif-far-away", content(far))
    put(".", target, "tiff-pages-in-a-circle", content(circle))
for target in "FuzzDecode", "FuzzSegments":
    put(".", target, "jpeg-many-scans", content(scans))
comment = b"\xff\xd8\xff\xfe\0\x06\xff\xda\0\x02\xff\xda\0\x02\x12\xff\0\xda\xff\xd0\xff\xff\xd9"
put(".", "FuzzSegments", "scan-in-a-comment", content(comment))
put(".", "FuzzResize", "very-tall", *sizes(524287, 1, 7, 64))
put(".", "FuzzResize", "very-wide", *sizes(1, 524287, 64, 7))
put("../../testdata", "FuzzFrame", "very-tall", *sizes(8, 32768, 64, 3, 19), "bool(true)", "bool(true)")
put("../../testdata", "FuzzFrame", "very-wide-native", *sizes(32768, 8, 0, 15, 8), "bool(false)", "bool(true)")
