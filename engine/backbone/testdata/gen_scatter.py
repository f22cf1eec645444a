"""Writes scatter.json: the channels of the backbone `scatter` before its PCA, at some cells of a grey and a colour image.

Independent of the Go code: float64, full two-dimensional kernels, scipy's correlation. Run: python gen_scatter.py
"""
import json
import pathlib

import numpy as np
from scipy.signal import correlate2d

H, W = 40, 48
CELLS = [(0, 0), (0, 5), (0, 11), (1, 1), (2, 7), (4, 0), (4, 4), (5, 6), (6, 11), (8, 3), (9, 0), (9, 6), (9, 11)]


def test_image(grey):
    """The image that the Go test makes from the same integer formula."""
    y, x = np.mgrid[:H, :W]
    c = np.arange(3)[:, None, None] * (0 if grey else 1)
    return ((x * x * 3 + 7 * x * y + 5 * y * y + 60 * c + 11 * c * x + 40 * (x > 20 + c)) % 256) / 255.0


def decimate(x, sigma, stride):
    """Gaussian blur, cut at 3 sigma; output j is centred on input pixel stride*j + (stride-1)/2."""
    offsets = np.arange(-50, 51) + (0.5 if stride % 2 == 0 else 0)
    offsets = offsets[np.abs(offsets) <= 3 * sigma]
    k = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * sigma**2))
    k /= k.sum()
    pad = (len(offsets) - stride) // 2
    return correlate2d(np.pad(x, pad, mode="reflect"), k, mode="valid")[::stride, ::stride]


def modulus(x):
    out = []
    v, u = np.mgrid[-4:5, -4:5].astype(float)
    for theta in np.arange(6) * np.pi / 6:
        a = u * np.cos(theta) + v * np.sin(theta)
        b = -u * np.sin(theta) + v * np.cos(theta)
        envelope = np.exp(-(a**2 + 0.6 * b**2) / (2 * 1.7**2))
        envelope /= envelope.sum()
        wave = np.exp(1j * np.pi / 2.2 * a)
        wave = envelope * (wave - (envelope * wave.real).sum())
        p = np.pad(x, 4, mode="reflect")
        re, im = correlate2d(p, wave.real, mode="valid"), correlate2d(p, wave.imag, mode="valid")
        out.append(np.sqrt(re**2 + im**2 + 1e-6))
    return out


def scatter(img, grey):
    r, g, b = img
    lum = 0.299 * r + 0.587 * g + 0.114 * b
    if grey:
        lum = lum * (0.4 / lum.mean())
    planes = [lum - 0.4] if grey else [lum - 0.4, r - g, (r + g) / 2 - b]
    low = [decimate(p, 3, 4) for p in planes]
    channels = [4 * m for m in low]
    for p, m in zip(planes, low):
        variance = decimate(p**2, 3, 4) - m**2
        channels.append(np.log(np.sqrt(variance + 1e-6) + 0.01))
    level = lum
    for scale in range(3):
        moduli = modulus(level)
        if scale == 0:
            first = moduli
        stride = 4 >> scale
        channels += [np.log(decimate(m, 3 / 2**scale, stride) + 0.004) for m in moduli]
        level = decimate(level, 1, 2)
    for m in first:
        channels += [np.log(decimate(q, 1.5, 2) + 0.002) for q in modulus(decimate(m, 1, 2))]
    return np.stack(channels)


def record(grey):
    f = scatter(test_image(grey), grey)
    return [[float(f"{v:.7g}") for v in f[:, i, j]] for i, j in CELLS]


if __name__ == "__main__":
    out = {"height": H, "width": W, "cells": CELLS, "grey": record(True), "colour": record(False)}
    path = pathlib.Path(__file__).with_name("scatter.json")
    path.write_text(json.dumps(out, separators=(",", ":")).replace("],", "],\n") + "\n")
