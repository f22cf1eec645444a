package sight

import "fmt"

// BadFrames is an error of some frames of a batch: what is wrong with them, by their place.
type BadFrames struct{ Why map[int]error }

func (b *BadFrames) Error() string {
	return fmt.Sprintf("engine: %d images of a batch cannot be scored", len(b.Why))
}

// Add blames a frame, unless that is done already.
func (b *BadFrames) Add(i int, err error) {
	if b.Why == nil {
		b.Why = map[int]error{}
	}
	if b.Why[i] == nil {
		b.Why[i] = err
	}
}

// Err is b if any frame is to blame.
func (b *BadFrames) Err() error {
	if len(b.Why) == 0 {
		return nil
	}
	return b
}

// Finite reports whether no value is NaN or infinite.
func Finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}
