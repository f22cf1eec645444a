"""Writes map.tiff, a float32 map as WriteMap writes it, and reads it back with other libraries.

Run in this folder; needs numpy, pillow and tifffile, and uses OpenCV where it is installed.
"""
import struct

import numpy as np
import tifffile
from PIL import Image

m = np.array([[0, 1, -2.5], [1e-30, 3.25, 65504]], dtype=np.float32)
SHORT, LONG, DATA = 3, 4, 152
entries = [(256, LONG, 3), (257, LONG, 2), (258, SHORT, 32), (259, SHORT, 1), (262, SHORT, 1), (273, LONG, DATA),
           (277, SHORT, 1), (278, LONG, 2), (279, LONG, 24), (339, SHORT, 3)]
head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
with open("map.tiff", "wb") as f:
    f.write(head.ljust(DATA, b"\0") + m.astype("<f4").tobytes())

assert np.array_equal(tifffile.imread("map.tiff"), m)
with Image.open("map.tiff") as img:
    assert img.mode == "F" and np.array_equal(np.asarray(img), m)
try:
    import cv2
except ImportError:
    print("OpenCV is not installed: not checked")
else:
    assert np.array_equal(cv2.imread("map.tiff", cv2.IMREAD_UNCHANGED), m)
