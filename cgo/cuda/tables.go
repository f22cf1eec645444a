package cuda

import "f2pad.example/kernels"

// pack is tables that cross the bus together.
type pack struct {
	room kernels.Ptr
	host []byte // what there is of them
	sent int    // bytes of it
}

// packBytes is what is uploaded at once: a part of the pinned memory that copies pass through.
const packBytes = 1 << 20

// pack lets what put copies from now on wait for the next launch.
func (j *job) pack() { j.tables = &pack{} }

// put takes a table of n bytes.
func (p *pack) put(j *job, parts [][]byte, n int) kernels.Ptr {
	const line = 256 // as allocations are aligned
	if p.host == nil || len(p.host)+n > packBytes {
		j.flush()
		p.room, p.host, p.sent = j.room(packBytes, 1), make([]byte, 0, packBytes), 0
	}
	at := len(p.host)
	for _, part := range parts {
		p.host = append(p.host, part...)
	}
	p.host = p.host[:min((len(p.host)+line-1)/line*line, packBytes)]
	return p.room + kernels.Ptr(at)
}

// flush uploads the tables that have not been.
func (j *job) flush() {
	if p := j.tables; p != nil && p.sent < len(p.host) {
		j.write(p.room+kernels.Ptr(p.sent), p.host[p.sent:])
		p.sent = len(p.host)
	}
}
