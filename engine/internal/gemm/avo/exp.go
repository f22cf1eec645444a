package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// table holds the constants that a function reads from memory, a whole vector of each.
var table = map[uint32]Mem{}

func word(bits uint32) Mem {
	m, ok := table[bits]
	if !ok {
		m = GLOBL(fmt.Sprintf("constant%08x", bits), attr.RODATA|attr.NOPTR)
		for i := range 8 {
			DATA(4*i, U32(bits))
		}
		table[bits] = m
	}
	return m
}

func constant(v float32) Mem { return word(math.Float32bits(v)) }

// polynomial is c[0] x^n + ... + c[n], every product and sum rounded.
func polynomial(x reg.VecVirtual, c ...float32) reg.VecVirtual {
	y := YMM()
	VMOVUPS(constant(c[0]), y)
	for _, v := range c[1:] {
		VMULPS(x, y, y)
		VADDPS(constant(v), y, y)
	}
	return y
}

// exponential is vec.exp: see there.
func exponential(x reg.VecVirtual) reg.VecVirtual {
	v, n, t := YMM(), YMM(), YMM()
	VMOVUPS(constant(-104), v)
	VMAXPS(x, v, v) // NaN stays
	VMOVUPS(constant(89), t)
	VMINPS(v, t, v)
	VMULPS(constant(math.Log2E), v, n)
	VROUNDPS(Imm(0), n, n)
	VMULPS(constant(0.693359375), n, t)
	VSUBPS(t, v, v)
	VMULPS(constant(-2.12194440e-4), n, t)
	VSUBPS(t, v, v)
	p := polynomial(v, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	VMULPS(v, v, t)
	VMULPS(t, p, p)
	VADDPS(v, p, p)
	VADDPS(constant(1), p, p)
	VCVTPS2DQ(n, n)
	half := YMM()
	VPSRAD(Imm(1), n, half)
	VPSUBD(half, n, n)
	for _, e := range []reg.VecVirtual{half, n} {
		VPADDD(word(127), e, e)
		VPSLLD(Imm(23), e, e)
		VMULPS(e, p, p)
	}
	return p
}

// hyperbolic is vec.tanh: see there.
func hyperbolic(x reg.VecVirtual) reg.VecVirtual {
	size, sign, z, far := YMM(), YMM(), YMM(), YMM()
	VANDPS(word(1<<31-1), x, size)
	VANDPS(word(1<<31), x, sign)
	VMULPS(x, x, z)
	near := polynomial(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
	VMULPS(z, near, near)
	VMULPS(x, near, near)
	VADDPS(x, near, near)
	VADDPS(size, size, far)
	e := exponential(far)
	VADDPS(constant(1), e, e)
	VMOVUPS(constant(2), far)
	VDIVPS(e, far, e)
	VMOVUPS(constant(1), far)
	VSUBPS(e, far, e)
	VORPS(sign, e, e)
	VCMPPS(Imm(less), constant(0.625), size, size)
	VBLENDVPS(size, near, e, e)
	return e
}
