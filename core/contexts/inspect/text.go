package inspect

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"
)

// charID names a character of a collaborative text: a time (24 bytes) and a number (crdt-storage.md §3.9).
type charID [28]byte

func (c charID) compare(o charID) int {
	word := func(c *charID, at int) uint64 { return binary.LittleEndian.Uint64(c[at:]) }
	return cmp.Or(
		cmp.Compare(word(&c, 0), word(&o, 0)),
		cmp.Compare(word(&c, 16), word(&o, 16)), cmp.Compare(word(&c, 8), word(&o, 8)),
		bytes.Compare([]byte{c[27], c[26], c[25], c[24]}, []byte{o[27], o[26], o[25], o[24]}),
	)
}

// start is left of the first character.
var start = charID{8: 1}

// char is a character with its left neighbour at the time it was written.
type char struct {
	id, left charID
	char     rune
}

func readChar(data []byte) (c char, err error) {
	if len(data) != len(c.id)+4+len(c.left) {
		return c, errEntry
	}
	c.id, c.left = charID(data[:28]), charID(data[32:])
	code := binary.LittleEndian.Uint32(data[28:])
	if code > utf8.MaxRune || !utf8.ValidRune(rune(code)) {
		return c, errEntry
	}
	c.char = rune(code)
	return c, nil
}

// chars are the characters of a text in the order of their creation.
type chars []char

// String is the text: after each character comes the largest of those written behind it, or else the first that is left.
func (cs chars) String() string {
	behind := map[charID][]int{}
	for i := range cs {
		behind[cs[i].left] = append(behind[cs[i].left], i)
	}
	for _, list := range behind {
		slices.SortFunc(list, func(a, b int) int { return cs[a].id.compare(cs[b].id) })
	}
	placed := make([]bool, len(cs))
	var out strings.Builder
	current, first := start, 0
	for range cs {
		next := -1
		for list := behind[current]; len(list) > 0 && next < 0; list = behind[current] {
			if last := list[len(list)-1]; !placed[last] {
				next = last
			}
			behind[current] = list[:len(list)-1]
		}
		for ; next < 0; first++ {
			if !placed[first] {
				next = first
			}
		}
		placed[next] = true
		out.WriteRune(cs[next].char)
		current = cs[next].id
	}
	return out.String()
}
