package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// unfinished starts the names of folders that are being filled.
const unfinished = ".new-"

// staged are a plugin's binary and files, copied into a folder of the host's own, from which they run: what was checked
// is what runs, and a rebuild does not disturb a running node.
type staged struct {
	dir    string
	binary string
	sums   map[string]string // hex sha256 by file name in dir
}

// stage compares the files of p with lock and finds them copied intact into a folder named after their content, or copies
// them there while hashing them once more.
func stage(root string, lock *Lock, p *config.Plugin) (*staged, error) {
	s := &staged{sums: map[string]string{}}
	content := sha256.New()
	var all []error
	for _, path := range filesOf(p) {
		sum, err := hashFile(path)
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", p.Title(), err))
			continue
		}
		all = append(all, lock.check(p, path, sum, pinnedSum(p, path)))
		s.sums[filepath.Base(path)] = sum
		fmt.Fprintf(content, "%s  %s\n", sum, filepath.Base(path))
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	if err := privateDir(root); err != nil {
		return nil, err
	}
	prefix := p.Kind + "-" + p.Name + "-"
	s.dir = filepath.Join(root, prefix+hex.EncodeToString(content.Sum(nil)[:16]))
	s.binary = filepath.Join(s.dir, filepath.Base(p.Path))
	if s.verify() != nil {
		if err := s.copy(root, p); err != nil {
			return nil, fmt.Errorf("copy %s: %w", p.Title(), err)
		}
	}
	return s, removeOthers(root, prefix, s.dir)
}

// copy makes the folder, in place of a damaged one. A file that changes meanwhile is refused.
func (s *staged) copy(root string, p *config.Plugin) error {
	fresh, err := os.MkdirTemp(root, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh) // nothing is there once it was renamed; the next host clears it otherwise
	for _, path := range filesOf(p) {
		name, mode := filepath.Base(path), os.FileMode(0o400)
		if path == p.Path {
			mode = 0o500
		}
		sum, err := copyHashing(path, filepath.Join(fresh, name), mode)
		if err != nil {
			return err
		}
		if sum != s.sums[name] {
			return errkind.Precondition.Errorf("%s was altered just now", path)
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	return os.Rename(fresh, s.dir)
}

// verify compares the copies with what they were when they were made.
func (s *staged) verify() error {
	info, err := os.Lstat(s.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 {
		return errkind.Precondition.Errorf("%s is not a folder of mode 0700", s.dir)
	}
	for name, want := range s.sums {
		sum, err := hashFile(filepath.Join(s.dir, name))
		if err != nil {
			return err
		}
		if sum != want {
			return errkind.Precondition.Errorf("%s was altered: its sha256 is %s, not %s", filepath.Join(s.dir, name), sum, want)
		}
	}
	return nil
}

// removeOthers removes copies of earlier builds of the same plugin; this host alone uses root.
func removeOthers(root, prefix, keep string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("list plugin copies: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		digest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || path == keep || len(digest) != 32 || strings.Trim(digest, "0123456789abcdef") != "" {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove an old plugin copy: %w", err)
		}
	}
	return nil
}

func copyHashing(from, to string, mode os.FileMode) (sum string, err error) {
	in, err := openPlain(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("copy %s: %w", from, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
