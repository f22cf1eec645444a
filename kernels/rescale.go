package kernels

import "fmt"

// Rescale brings each image's values in some arrays into float16's range by a power of two, and back: the largest that makes none
// of them larger than 2^Limit.
type Rescale struct {
	Images int
	Arrays []RescaleArray
	Limit  int

	Magnitudes Ptr // [Images,Blocks()] scratch, 4-byte values
	Powers     Ptr // float32 [Images]: 1 for an image of zeros, 0 for one with what is no number, which is left as it is
}

// RescaleArray is [Images,Elements] float32.
type RescaleArray struct {
	X        Ptr
	Elements int
}

const (
	rescaleBlock = 4096 // values of a magnitude
	rescaleLimit = 126
)

// RescaleBlocks is how many magnitudes an image of such arrays has.
func RescaleBlocks(elements ...int) int {
	n := 0
	for _, e := range elements {
		n += ceil(e, rescaleBlock)
	}
	return n
}

// Enqueue launches the kernels that find the powers and multiply the arrays by them.
func (r Rescale) Enqueue(q Queue) error {
	if len(r.Arrays) == 0 || r.Limit < -rescaleLimit || r.Limit > rescaleLimit {
		return fmt.Errorf("kernels: rescale: %d arrays, to 2^%d", len(r.Arrays), r.Limit)
	}
	if err := r.check(r.Arrays); err != nil {
		return err
	}
	if err := aligned("rescale", 4, named{"magnitudes", r.Magnitudes}); err != nil {
		return err
	}
	all := 0
	for _, a := range r.Arrays {
		all += RescaleBlocks(a.Elements)
	}
	first := 0
	for _, a := range r.Arrays {
		n := RescaleBlocks(a.Elements)
		err := q.Launch(Launch{
			Module: "rescale", Kernel: "rescale_most", Grid: [3]int{n, r.Images}, Block: 256, Shared: 32,
			Args: []Arg{a.X.Arg(), Int(a.Elements), Int(first), Int(all), r.Magnitudes.Arg()},
			Cost: Cost{Bytes: 4 * int64(r.Images) * int64(a.Elements)},
		})
		if err != nil {
			return err
		}
		first += n
	}
	err := q.Launch(Launch{
		Module: "rescale", Kernel: "rescale_power", Grid: [3]int{r.Images}, Block: 256, Shared: 32,
		Args: []Arg{r.Magnitudes.Arg(), Int(all), Int(r.Limit), r.Powers.Arg()},
	})
	if err != nil {
		return err
	}
	return r.times(q, r.Arrays, false)
}

// Back launches the kernel that divides arrays by the powers that Enqueue found.
func (r Rescale) Back(q Queue, arrays ...RescaleArray) error {
	if err := r.check(arrays); err != nil {
		return err
	}
	return r.times(q, arrays, true)
}

func (r Rescale) check(arrays []RescaleArray) error {
	for _, a := range arrays {
		if err := checkElements("rescale", r.Images, a.Elements); err != nil {
			return err
		}
		if err := aligned("rescale", 4, named{"x", a.X}); err != nil {
			return err
		}
	}
	return aligned("rescale", 4, named{"powers", r.Powers})
}

func (r Rescale) times(q Queue, arrays []RescaleArray, back bool) error {
	for _, a := range arrays {
		err := q.Launch(Launch{
			Module: "rescale", Kernel: "rescale_times", Grid: [3]int{ceil(a.Elements, 1024), r.Images}, Block: 256,
			Args: []Arg{r.Powers.Arg(), Int(a.Elements), Bool(back), a.X.Arg()},
			Cost: Cost{Bytes: 8 * int64(r.Images) * int64(a.Elements), Flops: int64(r.Images) * int64(a.Elements)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Cost is that of Enqueue.
func (r Rescale) Cost() Cost {
	values := int64(0)
	for _, a := range r.Arrays {
		values += int64(r.Images) * int64(a.Elements)
	}
	return Cost{Bytes: 12 * values, Flops: values}
}
