package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

const (
	mostHeader = 1 << 18 // bytes of a page's header
	mostValues = 1 << 24 // in a page
	mostWindow = 1 << 27 // bytes that zstd may look back
)

// plainDictionary is what older writers call the encoding of dictionaries and of their indices.
const plainDictionary format.Encoding = 2

// values are those of a leaf that is not repeated, one for each row. A page of them is in memory, and nothing that is only claimed: a
// page's values are not decoded before they are asked for, since few bytes may stand for any number of them.
type values struct {
	*table
	leaf   leaf
	most   int64 // bytes of a page
	buffer int   // bytes that are read at once

	group  int           // the next row group
	rows   int64         // that are left in the present one
	bytes  *bufio.Reader // its pages
	packed int64         // bytes of them that are left
	codec  format.CompressionCodec
	dict   [][]byte

	page int64                  // values that are left in the present page
	defs *runs                  // their definition levels; nil: they are all there
	one  func() ([]byte, error) // the next that is there
}

// next is the next row's value, nil where there is none. It stays as it is when the next one is read. The error is io.EOF behind the last
// row.
func (v *values) next() ([]byte, error) {
	for v.rows == 0 {
		if v.group == len(v.groups) {
			return nil, io.EOF
		}
		if err := v.chunk(); err != nil {
			return nil, err
		}
	}
	for v.page == 0 {
		if err := v.read(); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: %d rows are missing", errCutOff, v.rows)
			}
			return nil, err
		}
	}
	v.page--
	v.rows--
	if v.defs != nil {
		level, err := v.defs.next()
		if err != nil || int32(level) != v.leaf.levels {
			return nil, err
		}
	}
	return v.one()
}

// chunk begins with the next row group.
func (v *values) chunk() error {
	g := &v.groups[v.group]
	v.group++
	c := &g.Columns[v.leaf.index]
	m := &c.MetaData
	if c.FilePath != "" {
		return errors.New("a Parquet file whose columns are in other files, which is not supported")
	}
	at := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 {
		at = min(at, d)
	}
	if at < int64(len(parquetMagic)) || m.TotalCompressedSize < 0 || at > v.size-m.TotalCompressedSize {
		return corrupt("a column that lies outside of it")
	}
	if m.NumValues != g.NumRows {
		return corrupt("%d values in %d rows", m.NumValues, g.NumRows)
	}
	buffer := int(min(int64(max(v.buffer, mostHeader)), m.TotalCompressedSize))
	v.bytes = bufio.NewReaderSize(io.NewSectionReader(v.from, at, m.TotalCompressedSize), buffer)
	v.rows, v.packed, v.codec, v.dict = g.NumRows, m.TotalCompressedSize, m.Codec, nil
	return nil
}

// read reads the next page, which may be one without values.
func (v *values) read() error {
	head, err := v.bytes.Peek(int(min(v.packed, mostHeader)))
	if len(head) == 0 {
		if err == nil {
			err = io.EOF
		}
		return err
	}
	var h format.PageHeader
	n, err := unthrift(head, &h)
	if err != nil {
		return err
	}
	if _, err := v.bytes.Discard(n); err != nil {
		return err
	}
	v.packed -= int64(n)
	size, packed := int64(h.UncompressedPageSize), int64(h.CompressedPageSize)
	switch {
	case size < 0 || packed < 0 || packed > v.packed:
		return corrupt("a page of %d bytes where there are %d", packed, v.packed)
	case max(size, packed) > v.most:
		return fmt.Errorf("a page of %d bytes, at most %d are allowed", max(size, packed), v.most)
	}
	data, err := readMember(v.bytes, packed)
	if err != nil {
		return err
	}
	v.packed -= packed
	if h.CRC != 0 && crc32.ChecksumIEEE(data) != uint32(h.CRC) {
		return corrupt("a page with a wrong checksum")
	}
	switch {
	case h.Type == format.DataPage && h.DataPageHeader.Valid:
		d := &h.DataPageHeader.V
		if data, err = expand(v.codec, data, size); err != nil {
			return err
		}
		levels := []byte(nil)
		if v.leaf.levels > 0 {
			if d.DefinitionLevelEncoding != format.RLE {
				return fmt.Errorf("levels in encoding %s, which is not supported", d.DefinitionLevelEncoding)
			}
			if levels, data, err = prefixed(data); err != nil {
				return err
			}
		}
		return v.data(d.NumValues, d.Encoding, levels, data)
	case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
		d := &h.DataPageHeaderV2.V
		reps, defs := int64(d.RepetitionLevelsByteLength), int64(d.DefinitionLevelsByteLength)
		if reps < 0 || defs < 0 || reps+defs > min(packed, size) {
			return corrupt("a page whose levels are longer than it is")
		}
		levels, data := data[reps:reps+defs], data[reps+defs:]
		if !d.IsCompressed.Valid || d.IsCompressed.V {
			if data, err = expand(v.codec, data, size-reps-defs); err != nil {
				return err
			}
		}
		return v.data(d.NumValues, d.Encoding, levels, data)
	case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
		d := &h.DictionaryPageHeader.V
		if data, err = expand(v.codec, data, size); err != nil {
			return err
		}
		if v.dict != nil || d.Encoding != format.Plain && d.Encoding != plainDictionary || d.NumValues < 0 || int(d.NumValues) > len(data)/4 {
			return corrupt("a dictionary of %d values in encoding %s", d.NumValues, d.Encoding)
		}
		v.dict = make([][]byte, d.NumValues)
		for i := range v.dict {
			if v.dict[i], data, err = prefixed(data); err != nil {
				return err
			}
		}
	}
	return nil
}

// data begins with a page of n values.
func (v *values) data(n int32, encoding format.Encoding, levels, data []byte) error {
	if n < 0 || n > mostValues {
		return fmt.Errorf("a page of %d values, at most %d are read", n, mostValues)
	}
	if int64(n) > v.rows {
		return corrupt("more values than rows")
	}
	v.page, v.defs = int64(n), nil
	if v.leaf.levels > 0 {
		v.defs = &runs{data: levels, width: bits.Len32(uint32(v.leaf.levels))}
	}
	switch encoding {
	case format.Plain:
		v.one = func() (value []byte, err error) {
			value, data, err = prefixed(data)
			return value, err
		}
	case plainDictionary, format.RLEDictionary:
		if v.dict == nil {
			return corrupt("a page without its dictionary")
		}
		if len(data) == 0 { // all are null
			data = []byte{0}
		}
		if data[0] > 32 {
			return corrupt("indices of %d bits", data[0])
		}
		indices := &runs{data: data[1:], width: int(data[0])}
		dict := v.dict
		v.one = func() ([]byte, error) {
			i, err := indices.next()
			if err != nil {
				return nil, err
			}
			if int64(i) >= int64(len(dict)) {
				return nil, corrupt("a value that is not in the dictionary")
			}
			return dict[i], nil
		}
	case format.DeltaLengthByteArray:
		ends, data, err := deltaLengths(data, n)
		if err != nil {
			return err
		}
		i := 0
		v.one = func() ([]byte, error) {
			if i++; i >= len(ends) {
				return nil, corrupt("a page with too few values")
			}
			return data[ends[i-1]:ends[i]:ends[i]], nil
		}
	default:
		return fmt.Errorf("a column in encoding %s, which is not supported", encoding)
	}
	return nil
}

// deltaLengths are the bytes of values in encoding DELTA_LENGTH_BYTE_ARRAY, and where each ends; the first is 0. There are at most n.
func deltaLengths(data []byte, n int32) (ends []uint32, all []byte, err error) {
	defer func() { // what hostile input does to the decoder ends here
		if p := recover(); p != nil {
			err = corrupt("its decoder failed: %v", p)
		}
	}()
	head, total := data, uint64(0)
	for range 3 { // the size of a block, the miniblocks in it, and the values, which the decoder believes
		var k int
		if total, k = binary.Uvarint(head); k <= 0 {
			return nil, nil, corrupt("a page without values")
		}
		head = head[k:]
	}
	if total > uint64(n) {
		return nil, nil, corrupt("a page of %d values with %d lengths", n, total)
	}
	all, ends, err = new(delta.LengthByteArrayEncoding).DecodeByteArray(nil, data, nil)
	if err != nil {
		return nil, nil, corrupt("%w", err)
	}
	return ends, all, nil
}

// prefixed parts a value from what follows it. Its length, 4 bytes, is before it.
func prefixed(data []byte) (value, rest []byte, err error) {
	const prefix = 4
	if len(data) < prefix || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-prefix) {
		return nil, nil, corrupt("a value that is longer than its page")
	}
	n := prefix + int(binary.LittleEndian.Uint32(data))
	return data[prefix:n:n], data[n:], nil
}

// runs reads numbers of width bits, 32 at most, in the hybrid of runs and packed groups of eight that levels and indices are in.
// https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE
type runs struct {
	data  []byte
	width int

	left   uint64 // numbers that are left in the present run
	same   bool   // they are all number
	number uint32
	at     int // the next bit of packed ones
}

func (r *runs) next() (uint32, error) {
	for r.left == 0 {
		head, n := binary.Uvarint(r.data)
		if n <= 0 {
			return 0, corrupt("a page with too few values")
		}
		r.data = r.data[n:]
		r.left, r.same, r.at = head>>1, head&1 == 0, 0
		if !r.same {
			if r.left > 1<<32 {
				return 0, corrupt("a run of too many values")
			}
			r.left *= 8
			continue
		}
		bytes := (r.width + 7) / 8
		if len(r.data) < bytes {
			return 0, corrupt("a page with too few values")
		}
		var whole [4]byte
		copy(whole[:], r.data[:bytes])
		r.number, r.data = binary.LittleEndian.Uint32(whole[:]), r.data[bytes:]
	}
	r.left--
	if r.same {
		return r.number, nil
	}
	first, last := r.at/8, (r.at+r.width+7)/8
	if last > len(r.data) {
		return 0, corrupt("a page with too few values")
	}
	var whole [8]byte
	copy(whole[:], r.data[first:last])
	number := uint32(binary.LittleEndian.Uint64(whole[:]) >> (r.at % 8) & (1<<r.width - 1))
	if r.at += r.width; r.left == 0 {
		r.data = r.data[r.at/8:]
	}
	return number, nil
}

// expand decompresses a page to size bytes, with memory for as much as there is of it.
func expand(codec format.CompressionCodec, data []byte, size int64) ([]byte, error) {
	// Neither of these two expands by more than that.
	const mostSnappy, mostLZ4 = 32, 256
	wrong := func(err error) error { return corrupt("a page that is not sound (%s): %w", codec, err) }
	var r io.Reader
	switch codec {
	case format.Uncompressed:
		if int64(len(data)) != size {
			return nil, wrong(errSize)
		}
		return data, nil
	case format.Snappy:
		n, err := snappy.DecodedLen(data)
		if err == nil && (int64(n) != size || size > mostSnappy*int64(len(data))) {
			err = errSize
		}
		if err == nil {
			data, err = snappy.Decode(nil, data)
		}
		if err != nil {
			return nil, wrong(err)
		}
		return data, nil
	case format.Lz4Raw:
		if size > mostLZ4*int64(len(data)) {
			return nil, wrong(errSize)
		}
		all := make([]byte, size)
		n, err := lz4.UncompressBlock(data, all)
		if err == nil && int64(n) != size {
			err = errSize
		}
		if err != nil {
			return nil, wrong(err)
		}
		return all, nil
	case format.Gzip:
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, wrong(err)
		}
		r = z
	case format.Zstd:
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(mostWindow))
		if err != nil {
			return nil, wrong(err)
		}
		defer z.Close()
		r = z
	case format.Brotli:
		r = brotli.NewReader(bytes.NewReader(data))
	default:
		return nil, fmt.Errorf("a column compressed by %s, which is not supported", codec)
	}
	all, err := readMember(r, size)
	if err == nil {
		if n, end := io.ReadFull(r, make([]byte, 1)); n > 0 {
			err = errSize
		} else if end != io.EOF {
			err = end
		}
	}
	if err != nil {
		return nil, wrong(errors.New(err.Error())) // it is not the file's end
	}
	return all, nil
}

var errSize = errors.New("a size that cannot be")
