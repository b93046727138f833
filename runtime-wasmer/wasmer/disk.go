package wasmer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
	"github.com/calimero-go/core/runtime-wasmer/internal/rewrite"
)

// diskCache keeps modules as installed (<id>.wasm) and built (<id>.<key>.built)
// in a folder of its own. Every file says what it must hash to; a damaged one is
// removed and counts as missing.
type diskCache struct {
	dir string
	// build identifies everything but module and pages that a built form depends on.
	build string
	mu    sync.Mutex
}

const diskMagic = "calimero built module 1\n"

func openDisk(dir string) (*diskCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make module cache: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		return nil, fmt.Errorf("list module cache: %w", err)
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("clean module cache: %w", err)
		}
	}
	return &diskCache{dir: dir, build: fmt.Sprintf("%s rewrite %d", engine.Version(), rewrite.Version)}, nil
}

func (d *diskCache) wasmPath(id domain.Hash) string {
	return filepath.Join(d.dir, hex.EncodeToString(id[:])+".wasm")
}

func (d *diskCache) builtPath(id domain.Hash, pages uint32) string {
	key := sha256.Sum256(fmt.Appendf(nil, "%s pages %d", d.build, pages))
	return filepath.Join(d.dir, fmt.Sprintf("%x.%x.built", id[:], key[:8]))
}

// wasm returns the module as installed, nil when it is not here.
func (d *diskCache) wasm(id domain.Hash) ([]byte, error) {
	path := d.wasmPath(id)
	b, err := read(path)
	if err != nil || b == nil {
		return nil, err
	}
	if sha256.Sum256(b) != id {
		return nil, os.Remove(path)
	}
	return b, nil
}

// built returns the built form, nil when it is missing, damaged or foreign.
func (d *diskCache) built(id domain.Hash, pages uint32) (*built, error) {
	path := d.builtPath(id, pages)
	b, err := read(path)
	if err != nil || b == nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(b, []byte(diskMagic))
	if ok && len(rest) > sha256.Size && sha256.Sum256(rest[sha256.Size:]) == [sha256.Size]byte(rest) {
		if m, err := decodeBuilt(rest[sha256.Size:]); err == nil && m.Info.ID == id {
			return m, nil
		}
	}
	return nil, os.Remove(path)
}

func read(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read module cache: %w", err)
	}
	return b, nil
}

func (d *diskCache) store(id domain.Hash, pages uint32, wasm []byte, m *built) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := writeFile(d.wasmPath(id), wasm); err != nil {
		return err
	}
	return writeFile(d.builtPath(id, pages), append(append([]byte(diskMagic), sum[:]...), data...))
}

// writeFile replaces a file in one step. It does not sync: a file damaged by a
// power cut fails its checksum and is made again.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "*.tmp")
	if err != nil {
		return fmt.Errorf("write module cache: %w", err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write module cache: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// forget removes everything of a module.
func (d *diskCache) forget(id domain.Hash) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("list module cache: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), hex.EncodeToString(id[:])+".") {
			continue
		}
		if err := os.Remove(filepath.Join(d.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget module: %w", err)
		}
	}
	return nil
}
