package run

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	digest "hash"
	"strconv"
	"strings"
)

// Shard is a part of a run's inputs: of their order, every Of-th beginning with number Index, from 1 on. Runs of all shards of the same
// inputs, each into its own folder, are what Merge makes one of. Names of outputs are those of a run of all inputs.
type Shard struct{ Index, Of int }

// mostShards bounds Shard.Of: each is a folder that a merge holds open.
const mostShards = 10_000

// ParseShard reads "INDEX/OF".
func ParseShard(text string) (Shard, error) {
	index, of, _ := strings.Cut(text, "/")
	var s Shard
	var err1, err2 error
	s.Index, err1 = strconv.Atoi(index)
	s.Of, err2 = strconv.Atoi(of)
	if err1 != nil || err2 != nil || s.Index < 1 || s.Index > s.Of || s.Of > mostShards {
		return Shard{}, fmt.Errorf("must be I/N, with I from 1 to N and N up to %d", mostShards)
	}
	return s, nil
}

func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Of) }

// MarshalText is String.
func (s Shard) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseShard.
func (s *Shard) UnmarshalText(text []byte) (err error) {
	*s, err = ParseShard(string(text))
	return err
}

// has reports whether input number n, from 0 on, is the shard's; nil has all.
func (s *Shard) has(n int) bool { return s == nil || n%s.Of == s.Index-1 }

// share is how many of count inputs are the shard's.
func (s *Shard) share(count int) int { return (count + s.Of - s.Index) / s.Of }

// inputsSum tells the inputs of a run, those of all shards, from others.
type inputsSum struct {
	Count  int    `json:"count"`
	SHA256 string `json:"sha256"` // of their paths, each behind its length
}

// summer makes an inputsSum.
type summer struct {
	count int
	sum   digest.Hash
}

func (s *summer) add(path string) {
	if s.sum == nil {
		s.sum = sha256.New()
	}
	s.count++
	s.sum.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(path))))
	s.sum.Write([]byte(path))
}

func (s *summer) of() inputsSum {
	if s.sum == nil {
		s.sum = sha256.New()
	}
	return inputsSum{s.count, hex.EncodeToString(s.sum.Sum(nil))}
}

// all says which inputs the shards have together; nil of a run without shards.
func (s *scoring) all() *inputsSum {
	if s.sum.Shard == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.inputs.of()
	return &sum
}
