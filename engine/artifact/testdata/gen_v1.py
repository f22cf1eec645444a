"""Writes v1.f2pad from the format's description alone, without the Go writer. Run in this folder; needs only Python."""
import hashlib
import json
import struct


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def pad(data):
    return data + bytes(-len(data) % 64)


sections = [  # name, kind, shape, bytes
    ("info", 0, (), json.dumps({"method": "padim", "seed": 7}, separators=(",", ":")).encode()),
    ("method/index", 3, (3,), struct.pack("<3i", -1, 2, 1 << 30)),
    ("method/mean", 1, (2, 3), struct.pack("<6f", 0, 1, -2.5, 1e-30, 3.25, 6)),
    ("mask", 2, (1, 8, 8), bytes([0, 1, 254, 255] * 16)),  # 64 bytes: no padding follows
]
sections.sort()
offset = 64 + sum(23 + len(name) + 8 * len(shape) for name, _, shape, _ in sections)
table = body = b""
for name, kind, shape, data in sections:
    offset += -offset % 64
    table += struct.pack("<3B", len(name), kind, len(shape)) + name.encode()
    table += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<QQI", offset, len(data), crc32c(data))
    offset += len(data)
    body = pad(body) + data
head = b"F2PADMDL" + struct.pack("<IIQQI", 1, len(sections), offset + 32, len(table), crc32c(table))
head += struct.pack("<I", crc32c(head))
file = pad(pad(head) + table) + body
with open("v1.f2pad", "wb") as f:
    f.write(file + hashlib.sha256(file).digest())
