package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Names of the files in the data folder.
const (
	KeysFile      = "keys.json"
	SecretFile    = "secret.json"
	BootstrapFile = "bootstrap-code"
)

const (
	fileVersion = 1
	maxFile     = 64 << 20
	secretLen   = 32
)

// files is the data folder.
type files struct{ dir string }

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

// envelope is the form of keys.json.
type envelope struct {
	Version int             `json:"version"`
	Sum     string          `json:"sha256"` // hex, of Keys as it stands in the file
	Keys    json.RawMessage `json:"keys"`
}

// secrets is the form of secret.json. Both are base64url without padding of 32 bytes; their text is the HMAC key
// (http-api.md §5.3).
type secrets struct {
	Version   int    `json:"version"`
	Token     string `json:"token_secret"`
	Challenge string `json:"challenge_secret"`
}

// open reads both files, and writes them on the first start. Nothing is reset: damage, or one file without the other, is
// an error.
func (f files) open() ([]*record, secrets, error) {
	if err := f.tidy(); err != nil {
		return nil, secrets{}, err
	}
	keys, foundKeys, err := f.readKeys()
	if err != nil {
		return nil, secrets{}, err
	}
	s, foundSecrets, err := f.readSecrets()
	if err != nil {
		return nil, secrets{}, err
	}
	switch {
	case foundKeys && foundSecrets:
		return keys, s, nil
	case foundKeys && len(keys) > 0:
		return nil, secrets{}, errkind.Corrupt.Errorf("%s is missing although %s has keys: restore it from a backup; to give "+
			"up all accounts and start anew, remove %s too", f.path(SecretFile), KeysFile, KeysFile)
	case foundSecrets:
		return nil, secrets{}, errkind.Corrupt.Errorf("%s is missing although %s is there: restore it from a backup; to give "+
			"up all accounts and start anew, remove %s too", f.path(KeysFile), SecretFile, SecretFile)
	}
	// Keys first: an end between the two looks like no keys yet.
	if err := f.writeKeys(nil); err != nil {
		return nil, secrets{}, err
	}
	text := func() string { return base64.RawURLEncoding.EncodeToString(random(secretLen)) }
	s = secrets{Version: fileVersion, Token: text(), Challenge: text()}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, secrets{}, fmt.Errorf("encode %s: %w", SecretFile, err)
	}
	return nil, s, f.write(SecretFile, append(b, '\n'))
}

func (f files) readKeys() ([]*record, bool, error) {
	b, err := f.read(KeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	damaged := func(format string, args ...any) error {
		return errkind.Corrupt.Errorf("%s is damaged: %w; restore it from a backup; to give up all accounts and start anew, "+
			"remove %s and %s", f.path(KeysFile), fmt.Errorf(format, args...), KeysFile, SecretFile)
	}
	var e envelope
	if err := decode(b, &e); err != nil {
		return nil, false, damaged("%w", err)
	}
	if e.Version != fileVersion {
		return nil, false, errkind.Unsupported.Errorf("%s has version %d, this plugin reads version %d: use the plugin that "+
			"wrote it", f.path(KeysFile), e.Version, fileVersion)
	}
	if sum := checksum(e.Keys); sum != e.Sum {
		return nil, false, damaged("its checksum is %s and should be %s", sum, e.Sum)
	}
	var keys []*record
	if err := decode(e.Keys, &keys); err != nil {
		return nil, false, damaged("%w", err)
	}
	for i, k := range keys {
		if k == nil {
			return nil, false, damaged("key %d is null", i)
		}
		if err := k.prepare(); err != nil {
			return nil, false, damaged("key %d: %w", i, err)
		}
	}
	return keys, true, nil
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (f files) writeKeys(keys []*record) error {
	if keys == nil {
		keys = []*record{}
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("encode keys: %w", err)
	}
	if len(list) > maxFile/2 {
		return errkind.Exhausted.Errorf("write %s: %d bytes, the limit is %d: delete keys", KeysFile, len(list), maxFile/2)
	}
	b, err := json.Marshal(envelope{Version: fileVersion, Sum: checksum(list), Keys: list})
	if err != nil {
		return fmt.Errorf("encode %s: %w", KeysFile, err)
	}
	return f.write(KeysFile, append(b, '\n'))
}

func (f files) readSecrets() (secrets, bool, error) {
	b, err := f.read(SecretFile)
	if errors.Is(err, fs.ErrNotExist) {
		return secrets{}, false, nil
	}
	if err != nil {
		return secrets{}, false, err
	}
	damaged := func(err error) error {
		return errkind.Corrupt.Errorf("%s is damaged: %w; restore it from a backup, or put new secrets in (each 32 random "+
			"bytes in base64url without padding), which ends all tokens", f.path(SecretFile), err)
	}
	var s secrets
	if err := decode(b, &s); err != nil {
		return secrets{}, false, damaged(err)
	}
	if s.Version != fileVersion {
		return secrets{}, false, errkind.Unsupported.Errorf("%s has version %d, this plugin reads version %d: use the plugin "+
			"that wrote it", f.path(SecretFile), s.Version, fileVersion)
	}
	for _, text := range []string{s.Token, s.Challenge} {
		if raw, err := base64.RawURLEncoding.Strict().DecodeString(text); err != nil || len(raw) != secretLen {
			return secrets{}, false, damaged(fmt.Errorf("a secret is not %d bytes in base64url without padding", secretLen))
		}
	}
	if s.Token == s.Challenge {
		return secrets{}, false, damaged(errors.New("the two secrets are equal"))
	}
	return s, true, nil
}

// bootstrapCode reads the one-time code; "" when there is none.
func (f files) bootstrapCode() (string, error) {
	b, err := f.read(BootstrapFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	code := strings.TrimSpace(string(b))
	if len(code) < minBootstrap || len(code) > 256 {
		return "", errkind.Corrupt.Errorf("%s has a code of %d bytes, it must have %d to 256: write a new one or remove the file",
			f.path(BootstrapFile), len(code), minBootstrap)
	}
	return code, nil
}

func (f files) removeBootstrapCode() error {
	err := os.Remove(f.path(BootstrapFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// decode wants exactly one JSON value of known fields.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands after its end")
	}
	return nil
}

// read reads a file that nobody else may read.
func (f files) read(name string) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, errkind.Precondition.Errorf("%s is not a regular file: remove it", f.path(name))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, errkind.Precondition.Errorf("%s has mode %04o, others may use it: chmod 600 it, and if somebody else may "+
			"have read it, replace its secrets", f.path(name), mode)
	}
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path(name), err)
	}
	if len(b) > maxFile {
		return nil, errkind.TooLarge.Errorf("%s is larger than %d bytes", f.path(name), maxFile)
	}
	return b, nil
}

// write replaces a file: after an error or a crash it has its old content or its new one.
func (f files) write(name string, b []byte) error {
	tmp, err := f.writeNew(name, b)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path(name), err)
	}
	if err := os.Rename(tmp, f.path(name)); err != nil {
		return fmt.Errorf("write %s: %w", f.path(name), errors.Join(err, os.Remove(tmp)))
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path(name), err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write %s: sync its folder: %w", f.path(name), err)
	}
	return nil
}

const newSuffix = ".new"

// writeNew writes and syncs a file of mode 0600 beside name.
func (f files) writeNew(name string, b []byte) (string, error) {
	tmp, err := os.CreateTemp(f.dir, name+newSuffix)
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return tmp.Name(), nil
}

// tidy removes what a crash in the middle of a write left.
func (f files) tidy() error {
	for _, name := range []string{KeysFile, SecretFile} {
		left, err := filepath.Glob(f.path(name + newSuffix + "*"))
		if err != nil {
			return fmt.Errorf("list %s: %w", f.dir, err)
		}
		for _, path := range left {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove an unfinished file: %w", err)
			}
		}
	}
	return nil
}
