//go:build !amd64

package vec

const fast = false

// What stands for the assembly is never called.

func reluAVX2(_, _ []float32)                                        {}
func leakyReluAVX2(_, _ []float32, _ float32)                        {}
func clipAVX2(_, _ []float32, _, _ float32)                          {}
func stepAVX2(_, _ []float32, _, _ float32)                          {}
func gateAVX2(_, _, _ []float32, _, _ float32)                       {}
func addAVX2(_, _, _ []float32)                                      {}
func subAVX2(_, _, _ []float32)                                      {}
func mulAVX2(_, _, _ []float32)                                      {}
func shiftRowsAVX2(_, _ []float32, _ int, _ []float32, _, _ float32) {}
func accumulateAVX2(_ []float64, _ []float32)                        {}
func largerAVX2(_, _, _ []float32)                                   {}
func expAVX2(_, _ []float32)                                         {}
func tanhAVX2(_, _ []float32)                                        {}
func leastAVX2(_ []float32, _ *[8]float32)                           {}
func firstAtMostAVX2(_ []float32, _ float32) (i int)                 { return 0 }

func lowerAVX2(_, _ [][8]float32, _ []float32)           {}
func lowerTransposedAVX2(_, _ [][8]float32, _ []float32) {}
func nearerAVX2(_, _, _ []float32)                       {}
func distanceAVX2(_ *[4]float64, _, _ []float32)         {}

func sumRowsAVX2(_, _ []float32, _ []int, _ []float32)                        {}
func sumPairsAVX2(_, _ []float32, _, _ []int, _ []float32)                    {}
func weighAVX2(_ *[7][4]float64, _ []float64, _ []int, _, _ []float64, _ int) {}

func copyRowsAVX2(_ []float32, _ int, _ []float32, _, _, _ int)                    {}
func unzipRowsAVX2(_, _ []float32, _ int, _ []float32, _, _, _ int)                {}
func zipRowsAVX2(_ []float32, _ int, _ []float32, _ int, _ []float32, _, _, _ int) {}
