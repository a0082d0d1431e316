package stream

import (
	"fmt"
	"strings"
)

// compressor is a program that compresses, with the one that decompresses.
type compressor struct {
	name string
	pack []string
	back []string
}

// compressors are the types of --compress, by zfs-autobackup's names.
var compressors = []compressor{
	{"gzip", []string{"gzip", "-3", "-c"}, []string{"gzip", "-dc"}},
	{"pigz-fast", []string{"pigz", "-3", "-c"}, []string{"pigz", "-dc"}},
	{"pigz-slow", []string{"pigz", "-9", "-c"}, []string{"pigz", "-dc"}},
	{"zstd-fast", []string{"zstd", "-q", "-T0", "-3", "-c"}, []string{"zstd", "-q", "-dc"}},
	{"zstd-slow", []string{"zstd", "-q", "-T0", "-19", "-c"}, []string{"zstd", "-q", "-dc"}},
	{"zstd-adapt", []string{"zstd", "-q", "-T0", "--adapt", "-c"}, []string{"zstd", "-q", "-dc"}},
	{"xz", []string{"xz", "-c"}, []string{"xz", "-dc"}},
	{"lzo", []string{"lzop", "-c"}, []string{"lzop", "-dc"}},
	{"lz4", []string{"lz4", "-q", "-z", "-c"}, []string{"lz4", "-q", "-dc"}},
}

// Compression is the value of --compress.
type Compression string

// Takes reports whether the word after a bare --compress is its value, and not the next
// operand.
func (Compression) Takes(word string) bool { return findCompressor(Compression(word)) != nil }

func findCompressor(name Compression) *compressor {
	for i := range compressors {
		if compressors[i].name == string(name) {
			return &compressors[i]
		}
	}
	return nil
}

// UnmarshalFlag parses the value of an option.
func (c *Compression) UnmarshalFlag(s string) error {
	*c = Compression(s)
	if findCompressor(*c) != nil {
		return nil
	}
	var names []string
	for _, c := range compressors {
		names = append(names, c.name)
	}
	return fmt.Errorf("unknown type %q, known are %s", s, strings.Join(names, ", "))
}
