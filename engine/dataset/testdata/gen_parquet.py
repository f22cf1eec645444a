"""Records Parquet files as Arrow writes them, which is what Hugging Face's and most other data sets are written with.

pyarrow 26.0.1; run from this folder: python gen_parquet.py
"""

import pyarrow as pa
import pyarrow.parquet as pq

MARK = b"\x89PNG\r\n\x1a\n"
N = 20

rows = [MARK + b"image %d" % i for i in range(N)]
rows[5] = None
paths = ["good/%d.png" % (i % 4) for i in range(N)]
paths[7] = None
cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
images = pa.array([{"bytes": b, "path": p} for b, p in zip(rows, paths)], type=cell)
labels = pa.array(range(N))
hugging = pa.table({"image": images, "label": labels})
plain = pa.table({"label": labels, "jpg": pa.array(rows, type=pa.binary())})

for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
    pq.write_table(hugging, f"{codec}.parquet", compression=codec, row_group_size=8)
pq.write_table(plain, "v2.parquet", data_page_version="2.0", compression="zstd", use_dictionary=False, data_page_size=64)
pq.write_table(plain, "delta.parquet", use_dictionary=False, column_encoding={"jpg": "DELTA_LENGTH_BYTE_ARRAY", "label": "PLAIN"})
pq.write_table(plain, "crc.parquet", compression="none", write_page_checksum=True)
