"""Writes map.tiff, a float32 map as WriteMap writes it, and half.tiff, a float16 one as WriteHalfMap does, and reads them back with other libraries.

Run in this folder; needs numpy, pillow and tifffile, and uses OpenCV where it is installed.
"""
import struct

import numpy as np
import tifffile
from PIL import Image

SHORT, LONG, DATA = 3, 4, 152


def write(path, m):
    size = m.dtype.itemsize
    entries = [(256, LONG, 3), (257, LONG, 2), (258, SHORT, 8 * size), (259, SHORT, 1), (262, SHORT, 1), (273, LONG, DATA),
               (277, SHORT, 1), (278, LONG, 2), (279, LONG, 6 * size), (339, SHORT, 3)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    with open(path, "wb") as f:
        f.write(head.ljust(DATA, b"\0") + m.astype(m.dtype.newbyteorder("<")).tobytes())
    read = tifffile.imread(path)
    assert read.dtype == m.dtype and np.array_equal(read, m)


m = np.array([[0, 1, -2.5], [1e-30, 3.25, 65504]], dtype=np.float32)
write("map.tiff", m)
write("half.tiff", m.astype(np.float16))
with Image.open("map.tiff") as img:
    assert img.mode == "F" and np.array_equal(np.asarray(img), m)
try:
    import cv2
except ImportError:
    print("OpenCV is not installed: not checked")
else:
    assert np.array_equal(cv2.imread("map.tiff", cv2.IMREAD_UNCHANGED), m)
