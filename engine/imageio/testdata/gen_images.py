"""Writes the small image files of this folder, and pillow.json with what Pillow decodes them to. Run in this folder.

Needs numpy and pillow. Pixels are base64 of 8- or little-endian 16-bit samples, [H,W,C] or [H,W].
"""
import base64
import json

import numpy as np
from PIL import Image, ImageOps

H, W = 12, 17
y, x = np.mgrid[0:H, 0:W]
rng = np.random.default_rng(1)
noise = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
smooth = np.stack([40 + 10 * x, 200 - 9 * y, 90 + 4 * x + 3 * y], -1).astype(np.uint8)
alpha = rng.integers(0, 256, (H, W, 1), dtype=np.uint8)
expect = {}


def pixels(a):
    a = np.ascontiguousarray(a)
    return {"shape": a.shape, "data": base64.b64encode(a.astype(a.dtype.newbyteorder("<")).tobytes()).decode()}


def oriented(o):
    exif = Image.Exif()
    exif[0x0112] = o
    return exif


def save(name, img, want=None, **options):
    img.save(name, **options)
    if want is None:
        with Image.open(name) as back:
            back.load()
            want = np.asarray(ImageOps.exif_transpose(back).convert("L" if back.mode == "L" else "RGB"))
    expect[name] = pixels(want)


rgb, grey = Image.fromarray(noise), Image.fromarray(noise[..., 0])
# What exif_transpose undoes, per orientation.
undo = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
for o, how in undo.items():
    stored = rgb if how is None else rgb.transpose(how)
    save(f"orient-{o}.png", stored, noise, exif=oriented(o))
turned = rgb.transpose(Image.Transpose.ROTATE_90)
save("orient-6.tif", turned, noise, exif=oriented(6), compression="tiff_lzw")
save("orient-6.webp", turned, noise, exif=oriented(6), lossless=True)
save("orient-6.jpg", Image.fromarray(smooth).transpose(Image.Transpose.ROTATE_90), exif=oriented(6), quality=95, subsampling=0)

rgba = Image.fromarray(np.concatenate([noise, alpha], -1))
save("alpha.png", rgba, noise)
save("alpha.tif", rgba, noise)
save("alpha.webp", rgba, noise, lossless=True, exact=True)
save("palette.png", rgb.quantize(16))
few = grey.quantize(16)
save("grey-palette.png", few, np.asarray(few.convert("L")))
save("grey-as-rgb.png", Image.merge("RGB", [grey] * 3), noise[..., 0])
save("grey.png", grey)
save("grey.jpg", Image.fromarray(smooth[..., 0]), quality=95)
save("progressive.jpg", Image.fromarray(smooth), quality=90, progressive=True, subsampling=0)
save("cmyk.jpg", Image.fromarray(smooth).convert("CMYK"), quality=95)
tinted = np.stack([150 + 3 * x + 3 * y, 60 + 3 * x + 3 * y, 100 + 3 * x + 3 * y], -1)  # one chroma: no upsampling to differ in
save("lossy.webp", Image.fromarray(tinted.astype(np.uint8)), quality=90)
save("rgb.bmp", rgb)
save("grey.bmp", grey)
save("deflate.tif", rgb, compression="tiff_adobe_deflate")
save("raw.tif", grey)
deep = rng.integers(0, 65536, (H, W), dtype=np.uint16)
save("deep.png", Image.fromarray(deep), deep)
save("deep.tif", Image.fromarray(deep), deep)
rgb.save("animated.webp", save_all=True, append_images=[Image.fromarray(smooth)], lossless=True)

with open("pillow.json", "w") as f:
    json.dump(expect, f, indent=0, separators=(",", ":"))
    f.write("\n")
