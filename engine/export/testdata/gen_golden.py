"""Makes run, a folder of results, exports it with f2pad into golden, and reads all of that with what reads the formats.

Run in this folder with f2pad's path as its argument; needs numpy, scipy, pillow, tifffile, pandas, pyarrow 25.0.1, pycocotools 2.0.11,
shapely 2.2.0, datumaro 1.13.12, label-studio-sdk 2.1.2 and label-studio-converter 0.0.59.
"""
import base64
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely
import tifffile
from datumaro import Dataset
from label_studio_converter.brush import decode_rle as decode_old
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy import ndimage

program = str(Path(sys.argv[1]).resolve())
rng = np.random.default_rng(1)


def drawn(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def blobs(h, w, share):
    return ndimage.gaussian_filter(rng.normal(size=(h, w)), 1.5) > share


shapes = drawn(
    "####....#...",
    "#..#...#....",
    "#.##..#.....",
    "####.......#",
    "..........##",
    ".#######....",
    ".#.....#....",
    ".#.###.#...#",
    ".#.#.#.#....",
    ".#.###.#....",
    ".##....#....",
    ".#######....",
    "............",
    "#...........")
cases = [  # image, mask
    ("data/can/test/hole/000.png", shapes),
    ("data/can/test/good/001.png", np.zeros((9, 17), bool)),
    ("data/can/test/hole/bad.png", None),
    ("data/can/test/hole/a & b <ü> +%.png", np.ones((8, 11), bool)),
    ("data/can/test/hole/002.jpg", blobs(40, 31, 0.05)),
    ("data/can/test_private/000.png", blobs(23, 64, 0.1)),
    ("data/can/test_private_mixed/000.png", rng.random((16, 16)) < 0.4),
    (b"data/can/test/hole/\xff.png", np.eye(8, dtype=bool)),
    ("data/can/test/good/noise.png", np.zeros((8, 8), bool)),  # called anomalous, without a region
    ("elsewhere/x.png", np.triu(np.ones((110, 100), bool))),
]
SHORT, LONG, DATA = 3, 4, 152


def write_map(path, m):
    h, w = m.shape
    entries = [(256, LONG, w), (257, LONG, h), (258, SHORT, 32), (259, SHORT, 1), (262, SHORT, 1), (273, LONG, DATA),
               (277, SHORT, 1), (278, LONG, h), (279, LONG, 4 * h * w), (339, SHORT, 3)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    path.write_bytes(head.ljust(DATA, b"\0") + m.astype("<f4").tobytes())


def regions_of(mask, scores):
    labels, n = ndimage.label(mask, np.ones((3, 3)))
    out = []
    for k in range(1, n + 1):
        at = labels == k
        y, x = np.nonzero(at)
        peak = np.argmax(np.where(at, scores, -1))
        out.append({
            "x": int(x.min()), "y": int(y.min()), "width": int(np.ptp(x)) + 1, "height": int(np.ptp(y)) + 1, "area": int(at.sum()),
            "peak": float(scores.flat[peak]), "peak_x": int(peak % mask.shape[1]), "peak_y": int(peak // mask.shape[1]),
            "mean": float(scores[at].mean(dtype=np.float64)), "pixels": at})
    return sorted(out, key=lambda r: -r["peak"])


shutil.rmtree("run", ignore_errors=True)
run = Path("run")
for folder in ("masks", "maps"):
    (run / folder).mkdir(parents=True)
(run / "run.json").write_text(json.dumps({
    "version": "v1", "model_sha256": hashlib.sha256(b"model").hexdigest(), "refine": "f2pad", "maps": True, "masks": True, "overlays": False,
    "labels": False, "threshold": None, "pixel_threshold": None, "regions": {"close": 0, "fill": False, "min_area": 0}, "roi": None,
    "executor": {"executor": "go", "device": "cpu", "precision": "float32", "version": "3"}, "device": {"device": "cpu"}, "shard": None,
}, indent=2) + "\n")
want = []  # name, line, mask, regions with their pixels
with open(run / "results.jsonl", "w") as lines:
    for n, (image, mask) in enumerate(cases):
        raw = image if isinstance(image, bytes) else image.encode()
        line = {"image": raw.decode(errors="replace")}
        if isinstance(image, bytes):
            line["image_base64"] = base64.b64encode(raw).decode()
        if mask is None:
            line["error"] = line["image"] + ": not an image"
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            want.append((raw, line, None, []))
            continue
        scores = np.where(mask, 4, 0) + rng.integers(0, 12, mask.shape) / 4
        regions = regions_of(mask, scores)
        Image.fromarray(mask.astype(np.uint8) * 255).save(run / "masks" / f"{n}.png")
        write_map(run / "maps" / f"{n}.tiff", scores)
        line |= {
            "bytes": 100 + n, "modified": "2026-11-30T08:00:00.5Z", "sha256": hashlib.sha256(raw).hexdigest(), "image_score": 1.5 + n, "threshold": 2.25,
            "anomalous": n != 1, "refined": bool(regions), "device": "cpu", "pixel_threshold": 3.5,
            "regions": [{k: v for k, v in r.items() if k != "pixels"} for r in regions], "map": f"maps/{n}.tiff", "mask": f"masks/{n}.png",
            "overlay": None, "seconds": 0.25}
        if image == "elsewhere/x.png":  # as of an object
            line["tag"] = hashlib.md5(raw).hexdigest()
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        want.append((raw, line, mask, regions))


def export(name, *flags, rc=0):
    got = subprocess.run([program, "export", "--out", f"golden/{name}", *flags, "run"], capture_output=True, text=True)
    assert got.returncode == rc, got
    return Path("golden", name)


shutil.rmtree("golden", ignore_errors=True)
scored = [w for w in want if w[2] is not None]
named = [w for w in scored if w[0].decode(errors="replace").encode() == w[0]]  # annotations have no place for the other name


def raster(parts, h, w):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, h, w))).astype(bool)


# Tables: pandas and pyarrow.
table = pd.read_csv(export("images.csv", "--format", "csv"))
assert list(table.image) == [w[1]["image"] for w in want]
for _, row in table.iterrows():
    line = want[_][1]
    for field in ("image_base64", "bytes", "modified", "sha256", "tag", "image_score", "threshold", "anomalous", "refined", "device", "pixel_threshold",
                  "map", "mask", "overlay", "seconds", "error"):
        value = line.get(field)
        assert pd.isna(row[field]) if value is None else row[field] == value, (field, row[field], value)
    if "error" not in line:
        assert row.regions == len(line["regions"]) and row.area == sum(r["area"] for r in line["regions"])
        assert pd.isna(row.peak) if not line["regions"] else row.peak == max(r["peak"] for r in line["regions"])
regions = pd.read_csv(export("regions.csv", "--format", "csv", "--rows", "regions", "--polygons"))
simple = pd.read_csv(export("regions-simplified.csv", "--format", "csv", "--rows", "regions", "--polygons", "--simplify", "1.5"))
flat = [(w, k, r) for w in scored for k, r in enumerate(w[3])]
assert len(flat) == len(regions) == len(simple)
before = after = 0
for (w, k, r), (_, row), (_, less) in zip(flat, regions.iterrows(), simple.iterrows()):
    assert row.image == w[1]["image"] and row.region == k + 1 and row.image_score == w[1]["image_score"]
    for field in ("x", "y", "width", "height", "area", "peak", "peak_x", "peak_y", "mean"):
        assert abs(row[field] - r[field]) < 1e-9, (field, row[field], r[field])
    shape, fewer = shapely.from_wkt(row.polygon), shapely.from_wkt(less.polygon)
    assert shape.is_valid and fewer.is_valid and shape.area == r["area"], (w[0], k, shapely.is_valid_reason(shape), shapely.is_valid_reason(fewer))
    assert shape.hausdorff_distance(fewer) <= 1.5 + 1e-9
    x, y = np.meshgrid(np.arange(r["pixels"].shape[1]) + 0.5, np.arange(r["pixels"].shape[0]) + 0.5)
    assert np.array_equal(shapely.contains_xy(shape, x, y), r["pixels"])
    before, after = before + shapely.get_num_coordinates(shape), after + shapely.get_num_coordinates(fewer)
print(f"{len(flat)} regions; simplified by 1.5 px: {after} of {before} corners")
with tempfile.TemporaryDirectory() as temp:
    for name, flags in {"images": [], "regions": ["--rows", "regions", "--polygons"]}.items():
        path = f"{temp}/{name}.parquet"
        subprocess.run([program, "export", "--format", "parquet", "--out", path, *flags, "run"], check=True, capture_output=True)
        read, text = pq.read_table(path), pd.read_csv(f"golden/{name}.csv", keep_default_na=False, dtype=str)
        assert read.column_names == list(text.columns)
        assert json.loads(read.schema.metadata[b"f2pad"]) == json.loads((run / "run.json").read_text())
        for column in read.column_names:
            for value, cell in zip(read[column].to_pylist(), text[column]):
                if value is None:
                    assert cell == "", (column, cell)
                elif isinstance(value, bool):
                    assert cell == str(value).lower()
                elif isinstance(value, (int, float)):
                    assert float(cell) == value
                else:
                    assert cell == value
        print(f"{name}.parquet:", ", ".join(f"{f.name} {f.type}" for f in read.schema))

# COCO: pycocotools.
for name, flags in {"coco.json": [], "coco-polygons.json": ["--polygons", "--label", "fault"]}.items():
    coco = COCO(export(name, "--format", "coco", "--relative-to", "data", "--prefix", "images/", *flags, rc=3))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == (["fault"] if flags else ["defect"])
    below = [w for w in named if w[0].startswith(b"data/")]
    assert [i["file_name"] for i in coco.loadImgs(coco.getImgIds())] == [w[0].decode().replace("data/", "images/", 1) for w in below]
    for image, w in zip(coco.loadImgs(coco.getImgIds()), below):
        assert (image["height"], image["width"]) == w[2].shape and image["score"] == w[1]["image_score"]
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(annotations) == len(w[3])
        for a, r in zip(annotations, w[3]):
            assert np.array_equal(coco.annToMask(a).astype(bool), r["pixels"]), (name, w[0])
            assert a["bbox"] == [r["x"], r["y"], r["width"], r["height"]] and a["area"] == r["area"] and a["score"] == r["peak"]
            if not flags:
                own = coco_mask.encode(np.asfortranarray(r["pixels"].astype(np.uint8)))
                assert own["counts"].decode() == a["segmentation"]["counts"] and list(own["size"]) == a["segmentation"]["size"]

# CVAT: datumaro.
for name, flags in {"cvat.xml": [], "cvat-polygons.xml": ["--polygons"]}.items():
    path = export(name, "--format", "cvat", *flags, rc=3)
    with tempfile.TemporaryDirectory() as temp:
        shutil.copy(path, f"{temp}/annotations.xml")
        for raw, _, mask, _ in named:
            file = Path(temp, "images", raw.decode())
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(file)
        read = Dataset.import_from(temp, "cvat")
        assert len(read) == len(named)
        for item, w in zip(read, named):
            assert item.id + Path(w[0].decode()).suffix == w[0].decode()
            assert item.media.size == w[2].shape
            if not flags:
                assert len(item.annotations) == len(w[3])
                for a, r in zip(item.annotations, w[3]):
                    assert np.array_equal(a.image.astype(bool), r["pixels"]) and float(a.attributes["score"]) == r["peak"]
                continue
            groups, alone = {}, []
            for a in item.annotations:
                groups.setdefault(a.group, []).append(a) if a.group else alone.append([a])
            parts = alone + list(groups.values())
            assert len(parts) == len(w[3])
            got = {raster([p.points for p in g], *w[2].shape).tobytes() for g in parts}
            assert got == {r["pixels"].tobytes() for r in w[3]}

# Label Studio: its SDK, which wants scores from 0 to 1, and its converter.
def of_one(score, threshold):
    return score / (score + threshold)


brush = '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image"><Label value="defect"/></BrushLabels></View>'
poly = '<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image"><Label value="defect"/></PolygonLabels></View>'
for name, flags, config in (("labelstudio.json", [], brush), ("labelstudio-polygons.json", ["--polygons"], poly)):
    tasks = json.loads(export(name, "--format", "labelstudio", *flags, rc=3).read_text())
    interface = LabelInterface(config)
    assert len(tasks) == len(named)
    for task, w in zip(tasks, named):
        prediction, = task["predictions"]
        assert interface.validate_prediction(prediction), (name, interface.validate_prediction(prediction, return_errors=True))
        assert abs(prediction["score"] - of_one(w[1]["image_score"], w[1]["threshold"])) < 1e-12
        results = prediction["result"]
        h, width = w[2].shape
        assert all((r["original_height"], r["original_width"]) == (h, width) for r in results)
        if not flags:
            assert len(results) == len(w[3])
            for got, r in zip(results, w[3]):
                rle = got["value"]["rle"]
                for decode in (decode_rle, decode_old):
                    pixels = decode(rle).reshape(h, width, 4)
                    assert np.array_equal(pixels, np.repeat(r["pixels"][..., None] * 255, 4, -1)), (name, w[0])
                assert abs(got["score"] - of_one(r["peak"], 3.5)) < 1e-12
                # Its own encoder ends with a byte more where that is full, and has another form for single values.
                assert len(rle) <= len(mask2rle(r["pixels"].astype(np.uint8) * 255))
            continue
        parts = {}
        for got in results:
            points = [v * s / 100 for p in got["value"]["points"] for v, s in zip(p, (width, h))]
            parts.setdefault(round(got["score"], 9), []).append(points)
        for r in w[3]:
            same = np.logical_or.reduce([o["pixels"] for o in w[3] if o["peak"] == r["peak"]])
            assert np.array_equal(raster(parts[round(of_one(r["peak"], 3.5), 9)], h, width), same)

# MVTec: maps and masks where they belong. These are not recorded.
with tempfile.TemporaryDirectory() as temp:
    for kind in ("mvtec", "mvtec-ad2"):
        got = subprocess.run([program, "export", "--format", kind, "--out", f"{temp}/{kind}", "run"], capture_output=True, text=True)
        assert got.returncode == 3, got
    files = sorted(str(p.relative_to(temp)) for p in Path(temp).rglob("*") if p.is_file())
    print("\n".join(files))
    for raw, line, mask, _ in scored:
        scores = tifffile.imread(run / line["map"])
        stem = raw.decode(errors="replace").removeprefix("data/").rsplit(".", 1)[0]
        if b"/test/" in raw and not raw.endswith(b"\xff.png"):
            assert np.array_equal(tifffile.imread(f"{temp}/mvtec/{stem}.tiff"), scores)
        if b"/test_private" in raw:
            half = tifffile.imread(f"{temp}/mvtec-ad2/anomaly_images/{stem}.tiff")
            assert half.dtype == np.float16 and np.array_equal(half, scores.astype(np.float16))
            with Image.open(f"{temp}/mvtec-ad2/anomaly_images_thresholded/{stem}.png") as image:
                assert image.mode == "L" and np.array_equal(np.asarray(image), mask * np.uint8(255))
