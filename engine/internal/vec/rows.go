package vec

// pair is how many elements of a row the assembly takes apart, or puts together, at once; single how many it copies. There is half of
// that for narrow rows.
const (
	single = 8
	pair   = 16
)

// CopyRows sets dst[r*ldd+j] to src[r*lds+j] for r < rows and j < cols. They are apart in memory.
func CopyRows(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if fast && cols >= single/2 && rows > 0 {
		within(dst, ldd, rows, cols)
		within(src, lds, rows, cols)
		if cols < single {
			copyRowsHalf(dst, ldd, src, lds, rows, cols)
			return
		}
		copyRowsAVX2(dst, ldd, src, lds, rows, cols)
		return
	}
	copyRowsGo(dst, ldd, src, lds, rows, cols)
}

func copyRowsGo(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for r := range rows {
		copy(dst[r*ldd:][:cols], src[r*lds:])
	}
}

// UnzipRows sets even[r*ldd+j] to src[r*lds+2j] and odd[r*ldd+j] to src[r*lds+2j+1] for r < rows, as far as there are cols of
// them.
func UnzipRows(even, odd []float32, ldd int, src []float32, lds, rows, cols int) {
	from := 0
	if fast && cols >= pair/2 && rows > 0 {
		from = cols &^ 1
		within(even, ldd, rows, from/2)
		within(odd, ldd, rows, from/2)
		within(src, lds, rows, from)
		if from < pair {
			unzipRowsHalf(even, odd, ldd, src, lds, rows, from)
		} else {
			unzipRowsAVX2(even, odd, ldd, src, lds, rows, from)
		}
	}
	if from < cols {
		unzipRowsGo(even, odd, ldd, src, lds, rows, from, cols)
	}
}

// unzipRowsGo begins at an even element.
func unzipRowsGo(even, odd []float32, ldd int, src []float32, lds, rows, from, cols int) {
	for r := range rows {
		row := src[r*lds:][:cols]
		for j := from; j < cols; j += 2 {
			even[r*ldd+j/2] = row[j]
			if j+1 < cols {
				odd[r*ldd+j/2] = row[j+1]
			}
		}
	}
}

// ZipRows sets dst[r*ldd+2j] to even[r*lde+j] and dst[r*ldd+2j+1] to odd[r*ldo+j] for r < rows, as far as there are cols of
// them.
func ZipRows(dst []float32, ldd int, even []float32, lde int, odd []float32, ldo, rows, cols int) {
	from := 0
	if fast && cols >= pair && rows > 0 {
		from = cols &^ 1
		within(dst, ldd, rows, from)
		within(even, lde, rows, from/2)
		within(odd, ldo, rows, from/2)
		zipRowsAVX2(dst, ldd, even, lde, odd, ldo, rows, from)
	}
	if from < cols {
		zipRowsGo(dst, ldd, even, lde, odd, ldo, rows, from, cols)
	}
}

// zipRowsGo begins at an even element.
func zipRowsGo(dst []float32, ldd int, even []float32, lde int, odd []float32, ldo, rows, from, cols int) {
	for r := range rows {
		row := dst[r*ldd:][:cols]
		for j := from; j < cols; j += 2 {
			row[j] = even[r*lde+j/2]
			if j+1 < cols {
				row[j+1] = odd[r*ldo+j/2]
			}
		}
	}
}

// within panics where rows of cols elements, ld apart, are not in x: the assembly would not notice.
func within(x []float32, ld, rows, cols int) { _ = x[(rows-1)*ld:][:cols] }
