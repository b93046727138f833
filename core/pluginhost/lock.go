package pluginhost

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of what is hashed and copied.
const (
	maxLockFile   = 1 << 20
	maxPluginFile = 4 << 30
)

const lockHeader = `# The plugins this node may start: sha256 and path of each binary and of the files beside it.
# Written by: merod plugin pin. Checked with: sha256sum -c plugins.lock
`

// Lock is the content of plugins.lock: one line "<sha256>  <path>" for each file, the form sha256sum reads. Relative
// paths start at the lock's folder.
type Lock struct {
	path string
	sums map[string]string // by absolute path
}

// ReadLock reads a plugins.lock; a missing one is empty.
func ReadLock(path string) (*Lock, error) {
	l := &Lock{path: path, sums: map[string]string{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read plugin lock: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxLockFile+1))
	if err != nil {
		return nil, fmt.Errorf("read plugin lock %s: %w", path, err)
	}
	if len(src) > maxLockFile {
		return nil, errkind.TooLarge.Errorf("read plugin lock: %s has more than %d bytes", path, maxLockFile)
	}
	return l, l.parse(src)
}

func (l *Lock) parse(src []byte) error {
	scanner := bufio.NewScanner(bytes.NewReader(src))
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimRight(scanner.Text(), "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		sum, name, ok := strings.Cut(line, " ")
		if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size || len(name) < 2 {
			return errkind.Invalid.Errorf("read plugin lock: %s line %d is not \"<sha256>  <path>\"; run merod plugin pin", l.path, n)
		}
		path := l.absolute(name[1:]) // a blank for text, an asterisk for binary
		if _, twice := l.sums[path]; twice {
			return errkind.Invalid.Errorf("read plugin lock: %s line %d names %s again; run merod plugin pin", l.path, n, name[1:])
		}
		l.sums[path] = strings.ToLower(sum)
	}
	if err := scanner.Err(); err != nil {
		return errkind.Invalid.Errorf("read plugin lock %s: %w", l.path, err)
	}
	return nil
}

func (l *Lock) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(l.path), path)
}

// line is the line of a file whose path is written as given in the configuration.
func (l *Lock) line(path, given, sum string) string {
	if l.absolute(given) != path { // ~/…, or another folder than the configuration's
		given = path
	}
	return sum + "  " + given
}

// check compares the sum of a file with its line; pinned is an explicit sum in the block, which needs no line.
func (l *Lock) check(p *config.Plugin, path, sum, pinned string) error {
	line := l.line(path, p.Given(path), sum)
	want, ok := l.sums[path]
	switch {
	case pinned != "" && pinned != sum:
		return errkind.Precondition.Errorf("%s: %s was altered: its sha256 is %s, the block says %s; if you changed it "+
			"yourself, correct sha256", p.Title(), path, sum, pinned)
	case ok && want != sum:
		return errkind.Precondition.Errorf("%s: %s was altered: its sha256 is %s, %s says %s; if you changed it yourself, "+
			"run merod plugin pin", p.Title(), path, sum, l.path, want)
	case !ok && pinned == "":
		return errkind.Precondition.Errorf("%s: %s is not pinned in %s; run merod plugin pin, or add the line\n%s",
			p.Title(), path, l.path, line)
	}
	return nil
}

// Pin hashes the binaries and files of all plugin blocks and writes plugins.lock beside the configuration. It returns
// the lines.
func Pin(c *config.Config) ([]string, error) {
	l := &Lock{path: c.LockPath()}
	var lines []string
	seen := map[string]bool{}
	for _, p := range c.Plugins {
		for _, path := range filesOf(p) {
			if seen[path] {
				continue
			}
			seen[path] = true
			sum, err := hashFile(path)
			if err != nil {
				return nil, fmt.Errorf("pin %s: %w", p.Title(), err)
			}
			lines = append(lines, l.line(path, p.Given(path), sum))
		}
	}
	text := lockHeader + strings.Join(lines, "\n") + "\n"
	if err := config.WriteFile(l.path, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("pin plugins: %w", err)
	}
	return lines, nil
}

// Verify compares all plugin files with plugins.lock and returns all complaints as one error.
func Verify(c *config.Config) error {
	l, err := ReadLock(c.LockPath())
	if err != nil {
		return err
	}
	var all []error
	for _, p := range c.Plugins {
		for _, path := range filesOf(p) {
			sum, err := hashFile(path)
			if err != nil {
				all = append(all, fmt.Errorf("%s: %w", p.Title(), err))
				continue
			}
			all = append(all, l.check(p, path, sum, pinnedSum(p, path)))
		}
	}
	return errors.Join(all...)
}

func filesOf(p *config.Plugin) []string { return append([]string{p.Path}, p.Files...) }

// pinnedSum is the block's own sha256, which is about the binary.
func pinnedSum(p *config.Plugin, path string) string {
	if path == p.Path {
		return p.SHA256
	}
	return ""
}

// openPlain opens a regular file that is no symbolic link.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, errkind.Precondition.Errorf("%s is a symbolic link; name the file itself", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, errkind.NotFound.Errorf("%s does not exist; build it (make build) or correct the path", path)
	case err != nil:
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errkind.Precondition.Errorf("%s is not a regular file", path)
	case info.Size() > maxPluginFile:
		err = errkind.TooLarge.Errorf("%s has %d bytes; a plugin file may have %d", path, info.Size(), uint64(maxPluginFile))
	default:
		return f, nil
	}
	_ = f.Close()
	return nil, err
}

func hashFile(path string) (string, error) {
	f, err := openPlain(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
