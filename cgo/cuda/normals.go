package cuda

import (
	"errors"
	"sync"
	"weak"

	"f2pad.example/engine/device"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"
)

// normals are the normal images, of all engines, that stay on the device: they never change, and every search of an engine asks for the
// same. They go with the host's, when others want their room, or when the device is closed.
type normals struct {
	d      *Device
	budget int64 // bytes

	mu    sync.Mutex
	kept  map[weak.Pointer[refine.Normal]]*normal
	bytes int64  // of kept
	calls uint64 // of use
}

// normal is an image on the device.
type normal struct {
	p     kernels.Ptr
	bytes int64
	users int    // jobs
	last  uint64 // call that used it
	there bool   // false: the one job that uses it is sending it
}

// normalsShare is the part of the device's memory that normal images may take, and normalsIdle how many calls one has to go without before
// another takes its room: of more than there is room for the same ones stay, and the others are sent each time.
const (
	normalsShare = 1. / 16
	normalsIdle  = 64
)

// use says where images are on the device, until done is called, which is when the job is over; those that have no room there are
// missing. What is new is sent in the job's stream.
func (n *normals) use(j *job, all []*refine.Normal) (at map[*refine.Normal]kernels.Ptr, done func()) {
	at = map[*refine.Normal]kernels.Ptr{}
	var used []*normal
	fresh := n.find(j, all, func(image *refine.Normal, k *normal) {
		at[image] = k.p
		used = append(used, k)
	})
	for _, image := range fresh { // nobody waits for this job meanwhile
		data, _ := image.Planes()
		j.write(at[image], data)
	}
	if len(fresh) > 0 && j.err == nil {
		j.err = j.Sync() // jobs in other streams may be next
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, image := range fresh {
		if key := weak.Make(image); j.err == nil {
			n.kept[key].there = true
		} else {
			n.free(key)
		}
	}
	return at, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, k := range used {
			k.users--
		}
	}
}

// find tells which images are on the device, and makes room there for others: fresh.
func (n *normals) find(j *job, all []*refine.Normal, tell func(*refine.Normal, *normal)) (fresh []*refine.Normal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	for key, k := range n.kept {
		if key.Value() == nil && k.users == 0 {
			n.free(key)
		}
	}
	full := false
	for _, image := range all {
		k := n.kept[weak.Make(image)]
		switch {
		case k == nil && !full && j.err == nil:
			if k, full = n.add(j, image); k == nil {
				continue
			}
			fresh = append(fresh, image)
		case k == nil || !k.there:
			continue
		}
		k.users, k.last = k.users+1, n.calls
		tell(image, k)
	}
	return fresh
}

// add makes room for an image. full: the device has none.
func (n *normals) add(j *job, image *refine.Normal) (k *normal, full bool) {
	data, _ := image.Planes()
	k = &normal{bytes: int64(len(data))}
	for n.bytes+k.bytes > n.budget {
		if !n.drop(func(old *normal) bool { return n.calls-old.last > normalsIdle }) {
			return nil, false
		}
	}
	var err error
	if k.p, err = n.d.gpu.Alloc(len(data)); err != nil {
		if !errors.Is(err, device.ErrOutOfMemory) {
			j.fail(err)
		}
		return nil, true
	}
	n.kept[weak.Make(image)], n.bytes = k, n.bytes+k.bytes
	return k, false
}

// drop frees, of the images that no job uses, the one that was used least recently and may go; false: there is none.
func (n *normals) drop(may func(*normal) bool) bool {
	var oldest weak.Pointer[refine.Normal]
	var found *normal
	for key, k := range n.kept {
		if k.users == 0 && may(k) && (found == nil || k.last < found.last) {
			oldest, found = key, k
		}
	}
	if found == nil {
		return false
	}
	n.free(oldest)
	return true
}

// giveUp is drop for others, who need the room.
func (n *normals) giveUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drop(func(*normal) bool { return true })
}

// free takes an image from the device. What cannot be freed shows when that is closed.
func (n *normals) free(key weak.Pointer[refine.Normal]) {
	k := n.kept[key]
	_ = n.d.gpu.Free(k.p)
	delete(n.kept, key)
	n.bytes -= k.bytes
}

// close frees all.
func (n *normals) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.kept {
		n.free(key)
	}
}
