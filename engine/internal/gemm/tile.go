package gemm

// id names a micro-kernel.
type id int

const (
	none id = iota
	go2x4
	go1x64
	avx2x4x24
	avx512x8x16
	avx512x8x32
	avx512x8x48
	avx512x4x32
	kernels
)

var sizes = [kernels][2]int{{}, {2, 4}, {1, 64}, {4, 24}, {8, 16}, {8, 32}, {8, 48}, {4, 32}}

func kernel(i id) Kernel { return Kernel{sizes[i][0], sizes[i][1], i} }

func isa(name string, fused bool, many, wide, few id, plane int) *ISA {
	return &ISA{name, fused, kernel(many), kernel(wide), kernel(few), plane}
}

// narrower has, for some micro-kernels, one that computes the first columns of their tiles alone, in less time.
var narrower = [kernels]id{avx512x8x32: avx512x8x16, avx512x8x48: avx512x8x32}

// step is in how many columns a micro-kernel's tile begins: of the last ones, it may leave some out.
var step = [kernels]int{1, 1, 1, 1, 16, 16, 16, 16}

// Where a panel's last columns are a few beyond a step of the micro-kernel's, they are summed up by themselves, in tiles of tallRows rows
// by two columns, each of which takes a quarter of the time of another step.
const (
	tallRows = 32
	tallMost = 4 // columns
)

// fewBeyond is how many of the last of so many columns are better summed up by themselves.
func fewBeyond(i id, cols int) int {
	if beyond := cols % step[i]; sizes[i][0] == 8 && beyond <= tallMost {
		return beyond
	}
	return 0
}

// along holds, for each kernel, where in a packed panel its rows begin.
var along = func() (at [kernels][]int) {
	for i, s := range sizes {
		for l := range Depth {
			at[i] = append(at[i], l*s[1])
		}
	}
	return at
}()

// available are the processor's ISAs. The portable one does not fuse: Go has no fused float32 multiply-add, and its
// products are converted, which keeps a compiler from fusing them of its own accord.
var available = append(native(), isa("go", false, go2x4, go2x4, go1x64, 0))

// tileGo is tile for the portable kernels.
func tileGo(i id, k int, a, b []float32, at []int, init []float32, to Bounds, c []float32, ldc int) {
	if i == go2x4 {
		tile2x4(k, a, b, at, init, c, ldc)
		to.clip(c[:4])
		to.clip(c[ldc:][:4])
		return
	}
	c = c[:sizes[i][1]]
	if init != nil {
		for j := range c {
			c[j] = init[0]
		}
	}
	if at == nil {
		at = along[i]
	}
	axpy(c, b, at[:k], a[:k])
	to.clip(c)
}

// tile2x4 is unrolled four deep where b is packed: the compiler moves the last addition of each chain to the end of the
// loop body, and in a longer body fewer products wait for it in registers.
func tile2x4(k int, a, b []float32, at []int, init, c []float32, ldc int) {
	x, y := (*[4]float32)(c), (*[4]float32)(c[ldc:])
	if init != nil {
		*x = [4]float32{init[0], init[0], init[0], init[0]}
		*y = [4]float32{init[1], init[1], init[1], init[1]}
	}
	x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
	y0, y1, y2, y3 := y[0], y[1], y[2], y[3]
	a = a[:2*k]
	if at == nil {
		for b := b[:4*k]; len(a) >= 8 && len(b) >= 16; a, b = a[8:], b[16:] {
			{
				u, v, q := a[0], a[1], b[0]
				x0 += float32(u * q)
				y0 += float32(v * q)
				q = b[1]
				x1 += float32(u * q)
				y1 += float32(v * q)
				q = b[2]
				x2 += float32(u * q)
				y2 += float32(v * q)
				q = b[3]
				x3 += float32(u * q)
				y3 += float32(v * q)
			}
			{
				u, v, q := a[2], a[3], b[4]
				x0 += float32(u * q)
				y0 += float32(v * q)
				q = b[5]
				x1 += float32(u * q)
				y1 += float32(v * q)
				q = b[6]
				x2 += float32(u * q)
				y2 += float32(v * q)
				q = b[7]
				x3 += float32(u * q)
				y3 += float32(v * q)
			}
			{
				u, v, q := a[4], a[5], b[8]
				x0 += float32(u * q)
				y0 += float32(v * q)
				q = b[9]
				x1 += float32(u * q)
				y1 += float32(v * q)
				q = b[10]
				x2 += float32(u * q)
				y2 += float32(v * q)
				q = b[11]
				x3 += float32(u * q)
				y3 += float32(v * q)
			}
			{
				u, v, q := a[6], a[7], b[12]
				x0 += float32(u * q)
				y0 += float32(v * q)
				q = b[13]
				x1 += float32(u * q)
				y1 += float32(v * q)
				q = b[14]
				x2 += float32(u * q)
				y2 += float32(v * q)
				q = b[15]
				x3 += float32(u * q)
				y3 += float32(v * q)
			}
		}
	}
	for l := k - len(a)/2; len(a) >= 2; l++ {
		from := 4 * l
		if at != nil {
			from = at[l]
		}
		p := (*[4]float32)(b[from:])
		u, v := a[0], a[1]
		x0 += float32(u * p[0])
		x1 += float32(u * p[1])
		x2 += float32(u * p[2])
		x3 += float32(u * p[3])
		y0 += float32(v * p[0])
		y1 += float32(v * p[1])
		y2 += float32(v * p[2])
		y3 += float32(v * p[3])
		a = a[2:]
	}
	*x = [4]float32{x0, x1, x2, x3}
	*y = [4]float32{y0, y1, y2, y3}
}

// gatherGo is Kernel.Gather for the portable kernels.
func gatherGo(dst, src []float32, at []int, segments []Segment, stride int) {
	for l, o := range at {
		row := dst[l*stride:][:stride]
		for _, s := range segments {
			if s.Cols == 4 {
				*(*[4]float32)(row[s.To:]) = *(*[4]float32)(src[o+s.From:])
				continue
			}
			copy(row[s.To:], src[o+s.From:][:s.Cols])
		}
	}
}
