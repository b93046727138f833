package pluginhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// The host's run folder: host.lock is held by the host; plugins/ has the copies that run; s/ has one folder per process
// with its socket and a file "life", locked by host and plugin together, so that it is free when both are gone.
const (
	hostLockName = "host.lock"
	copiesName   = "plugins"
	socketsName  = "s"
	lifeName     = "life"
)

// socketTail is what go-plugin and the plugin add to the sockets' folder: /<instance>/plugin-dir<n>/plugin<n>.
const socketTail = len("/4294967295") + len("/plugin-dir4294967295") + len("/plugin4294967295")

// maxSocketPath is the longest path of a unix socket in bytes.
func maxSocketPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}

type runDir struct {
	path    string
	sockets string
	lock    *os.File
}

// openRunDir takes the run folder for this process and clears what earlier ones left.
func openRunDir(ctx context.Context, path string, staleWait time.Duration, log *slog.Logger) (_ *runDir, err error) {
	if err := privateDir(path); err != nil {
		return nil, err
	}
	r := &runDir{path: path}
	if r.lock, err = takeHostLock(filepath.Join(path, hostLockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.lock.Close()
		}
	}()
	places := socketPlaces(path)
	if r.sockets, err = firstShort(places, maxSocketPath()-socketTail); err != nil {
		return nil, err
	}
	for _, dir := range places {
		if err := clearStale(ctx, dir, staleWait, log); err != nil {
			return nil, err
		}
	}
	if err := clearUnfinished(filepath.Join(path, copiesName)); err != nil {
		return nil, err
	}
	return r, privateDir(r.sockets)
}

func (r *runDir) close() error {
	err := os.Remove(r.sockets) // fails if a plugin is left, which the next host clears
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		err = nil
	}
	return errors.Join(err, r.lock.Close())
}

// socketPlaces are the folders for sockets, the best first: in the home, or, when its path is too long, in a folder for
// temporary files, always the same for one home.
func socketPlaces(run string) []string {
	sum := sha256.Sum256([]byte(run))
	short := fmt.Sprintf("merod-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6]))
	places := []string{filepath.Join(run, socketsName), filepath.Join(os.TempDir(), short)}
	if system := filepath.Join("/tmp", short); system != places[1] {
		places = append(places, system)
	}
	return places
}

// firstShort is the first folder whose path has at most that many bytes.
func firstShort(places []string, most int) (string, error) {
	for _, p := range places {
		if len(p) <= most {
			return p, nil
		}
	}
	return "", errkind.Precondition.Errorf("no folder for plugin sockets: %s: each path is too long; a socket's may have %d bytes, "+
		"of which %d are added to the folder: use a shorter home or TMPDIR", strings.Join(places, ", "), most+socketTail, socketTail)
}

// privateDir makes a folder of mode 0700, or checks that it is one of this user's.
func privateDir(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at folder: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Getuid() {
		return errkind.Precondition.Errorf("%s must be a folder of user %d, and no symbolic link; remove it", path, os.Getuid())
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("close folder to others: %w", err)
		}
	}
	return nil
}

func takeHostLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the host's lock: %w", err)
	}
	// A process that was just ended, or one it was forking, may hold the lock for a moment.
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for range 50 {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		pid := readPID(f)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errkind.Precondition.Errorf("another node (process %s) runs in %s; stop it, or use another home",
				pid, filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := writePID(f, os.Getpid()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func writePID(f *os.File, pid int) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return nil
}

func readPID(f *os.File) string {
	text := make([]byte, 16)
	n, _ := f.ReadAt(text, 0) // io.EOF
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return pid
	}
	return "unknown"
}

// instance is the folder of one process.
type instance struct {
	dir  string
	life *os.File
}

// newInstance makes a folder whose life file is locked; the plugin inherits the lock with the file.
func (r *runDir) newInstance() (*instance, error) {
	dir, err := os.MkdirTemp(r.sockets, "")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the plugin's socket: %w", err)
	}
	i := &instance{dir: dir}
	if i.life, err = os.OpenFile(filepath.Join(dir, lifeName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("make the plugin's life file: %w", err)
	}
	if err := unix.Flock(int(i.life.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		i.remove()
		return nil, fmt.Errorf("lock the plugin's life file: %w", err)
	}
	return i, nil
}

func (i *instance) remove() {
	_ = i.life.Close()
	_ = os.RemoveAll(i.dir) // the next host clears what is left
}

// clearStale removes the folders of processes of earlier hosts. One that still runs is given time to close its data.
func clearStale(ctx context.Context, sockets string, patience time.Duration, log *slog.Logger) error {
	entries, err := os.ReadDir(sockets)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list plugin sockets: %w", err)
	}
	if err := privateDir(sockets); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, e := range entries {
		dir := filepath.Join(sockets, e.Name())
		if err := awaitEnd(ctx, filepath.Join(dir, lifeName), log); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what an earlier plugin left: %w", err)
		}
	}
	return nil
}

// awaitEnd returns when no process holds the life file.
func awaitEnd(ctx context.Context, life string, log *slog.Logger) error {
	f, err := os.OpenFile(life, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a plugin's life file: %w", err)
	}
	defer f.Close()
	for told := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", life, err)
		}
		if !told {
			log.Info("a plugin of an earlier run still closes; waiting for it", "pid", readPID(f))
			told = true
		}
		select {
		case <-ctx.Done():
			return errkind.Precondition.Errorf("a plugin of an earlier run (process %s) still runs; end it: kill -9 %s",
				readPID(f), readPID(f))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clearUnfinished removes copies that a killed host was making.
func clearUnfinished(copies string) error {
	entries, err := os.ReadDir(copies)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list plugin copies: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := os.RemoveAll(filepath.Join(copies, e.Name())); err != nil {
				return fmt.Errorf("remove an unfinished copy: %w", err)
			}
		}
	}
	return nil
}
