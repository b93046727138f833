package inspect

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// The export format is lines of JSON: a header, one line for each row in the order of the keys, and an end with the
// number of rows and a checksum, so that a part is not taken for the whole. docs/operating.md describes it.

const (
	exportFormat  = "calimero-state"
	exportVersion = 1
	// maxLine bounds a line: a value of 16 MiB in base64.
	maxLine = 24 << 20
)

type exportHeader struct {
	Format      string               `json:"format"`
	Version     int                  `json:"version"`
	Context     domain.ContextID     `json:"context"`
	Application domain.ApplicationID `json:"application"`
	Root        domain.Hash          `json:"root"`
	Heads       []domain.Hash        `json:"heads"`
	Schema      *Schema              `json:"schema,omitempty"`
}

type exportRow struct {
	Key   crdt.ID `json:"key"` // hex
	Value string  `json:"value"`
}

type exportEnd struct {
	Rows   *int    `json:"rows"`
	SHA256 crdt.ID `json:"sha256"`
}

// checksum covers all rows, each as key, length (u64) and value.
type checksum struct {
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func newChecksum() checksum { return checksum{sha256.New()} }

func (c checksum) add(key crdt.StateKey, value []byte) {
	_, _ = c.sum.Write(binary.LittleEndian.AppendUint64(key[:], uint64(len(value)))) // a hash never fails
	_, _ = c.sum.Write(value)
}

// Export writes the state as a file.
func (s *State) Export(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	heads := s.Heads
	if heads == nil {
		heads = []domain.Hash{}
	}
	if err := enc.Encode(exportHeader{exportFormat, exportVersion, s.Context, s.Application, s.Root, heads, s.Schema}); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	sum, rows := newChecksum(), len(s.Rows)
	for _, key := range s.keys() {
		sum.add(key, s.Rows[key])
		if err := enc.Encode(exportRow{crdt.ID(key), base64.StdEncoding.EncodeToString(s.Rows[key])}); err != nil {
			return fmt.Errorf("write export: %w", err)
		}
	}
	if err := enc.Encode(exportEnd{&rows, crdt.ID(sum.sum.Sum(nil))}); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

// ReadExport reads what Export wrote; kind Invalid when it is something else, Corrupt when it is not whole.
func ReadExport(r io.Reader) (*State, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 1<<16), maxLine)
	next := func() ([]byte, error) {
		if lines.Scan() {
			return lines.Bytes(), nil
		}
		if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
			return nil, errkind.TooLarge.Errorf("read export: a line has more than %d bytes", maxLine)
		} else if err != nil {
			return nil, fmt.Errorf("read export: %w", err)
		}
		return nil, errkind.Corrupt.Errorf("read export: the file ends early")
	}
	line, err := next()
	if err != nil {
		return nil, err
	}
	var h exportHeader
	if err := json.Unmarshal(line, &h); err != nil || h.Format != exportFormat {
		return nil, errkind.Invalid.Errorf("read export: the file is no export of a state: its first line must name the format %q",
			exportFormat)
	}
	if h.Version != exportVersion {
		return nil, errkind.Unsupported.Errorf("read export: version %d, this program reads %d", h.Version, exportVersion)
	}
	s := &State{
		Context: h.Context, Application: h.Application, Root: h.Root, Heads: h.Heads, Schema: h.Schema,
		Rows: map[crdt.StateKey][]byte{},
	}
	sum := newChecksum()
	var last *crdt.StateKey
	for {
		if line, err = next(); err != nil {
			return nil, err
		}
		var row struct {
			exportEnd
			Key   *crdt.ID `json:"key"`
			Value string   `json:"value"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, errkind.Corrupt.Errorf("read export: row %d: %w", len(s.Rows), err)
		}
		if row.Key == nil {
			return s, s.end(row.exportEnd, crdt.ID(sum.sum.Sum(nil)), lines)
		}
		value, err := base64.StdEncoding.DecodeString(row.Value)
		if err != nil {
			return nil, errkind.Corrupt.Errorf("read export: row %d: %w", len(s.Rows), err)
		}
		key := crdt.StateKey(*row.Key)
		if last != nil && bytes.Compare(last[:], key[:]) >= 0 {
			return nil, errkind.Corrupt.Errorf("read export: row %d is not in order", len(s.Rows))
		}
		last = &key
		sum.add(key, value)
		if err := s.add(key, value); err != nil {
			return nil, fmt.Errorf("read export: %w", err)
		}
	}
}

func (s *State) end(end exportEnd, sum crdt.ID, lines *bufio.Scanner) error {
	switch {
	case end.Rows == nil:
		return errkind.Corrupt.Errorf("read export: a line after row %d is neither a row nor the end", len(s.Rows))
	case *end.Rows != len(s.Rows):
		return errkind.Corrupt.Errorf("read export: it has %d rows, its end says %d", len(s.Rows), *end.Rows)
	case end.SHA256 != sum:
		return errkind.Corrupt.Errorf("read export: the rows do not match the checksum at the end: the file was changed")
	case lines.Scan():
		return errkind.Corrupt.Errorf("read export: something follows its end")
	}
	return nil
}
