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

// staged are a plugin's binary and files, copied into a folder of the host's own, from which they run: what was checked
// is what runs, and a rebuild does not disturb a running node.
type staged struct {
	dir    string
	binary string
	sums   map[string]string // hex sha256 by file name in dir
}

// stage copies the files of p while hashing them, compares them with lock and puts them into a folder named after their
// content, or finds that folder intact.
func stage(root string, lock *Lock, p *config.Plugin) (_ *staged, err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of plugin copies: %w", err)
	}
	fresh, err := os.MkdirTemp(root, ".new-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the copy of %s: %w", p.Title(), err)
	}
	defer func() {
		if rerr := os.RemoveAll(fresh); err == nil && rerr != nil {
			err = fmt.Errorf("remove %s: %w", fresh, rerr)
		}
	}()

	s := &staged{sums: map[string]string{}}
	content := sha256.New()
	var all []error
	for _, path := range filesOf(p) {
		name, mode := filepath.Base(path), os.FileMode(0o400)
		if path == p.Path {
			mode = 0o500
		}
		sum, err := copyHashing(path, filepath.Join(fresh, name), mode)
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", p.Title(), err))
			continue
		}
		all = append(all, lock.check(p, path, sum, pinnedSum(p, path)))
		s.sums[name] = sum
		fmt.Fprintf(content, "%s  %s\n", sum, name)
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	prefix := p.Kind + "-" + p.Name + "-"
	s.dir = filepath.Join(root, prefix+hex.EncodeToString(content.Sum(nil)[:16]))
	s.binary = filepath.Join(s.dir, filepath.Base(p.Path))
	if s.verify() != nil {
		if err := os.RemoveAll(s.dir); err != nil {
			return nil, fmt.Errorf("remove a damaged copy of %s: %w", p.Title(), err)
		}
		if err := os.Rename(fresh, s.dir); err != nil {
			return nil, fmt.Errorf("keep the copy of %s: %w", p.Title(), err)
		}
	}
	return s, removeOthers(root, prefix, s.dir)
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
