package apps

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// InstallPath installs a WASM file of this machine. Its canonical path becomes the source and, with the content, the
// metadata and the size, the application's id. An empty pkg is "unknown", an empty version "0.0.0". A module that cannot
// run here is refused and leaves nothing. Installing again replaces the record.
func (s *Service) InstallPath(ctx context.Context, path string, metadata []byte, pkg, version string) (domain.ApplicationID, error) {
	if len(path) > MaxPath {
		return domain.ApplicationID{}, errkind.TooLarge.Errorf("path has %d bytes, limit %d", len(path), MaxPath)
	}
	canonical, err := canonicalPath(path)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	if strings.EqualFold(filepath.Ext(canonical), ".mpk") {
		return domain.ApplicationID{}, errkind.Of(errBundle()).Errorf("install %s: %w", canonical, errBundle())
	}
	wasm, err := s.readFile(canonical)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	id, err := s.install(ctx, wasm, wire.ApplicationRecord{
		Source: fileURL(canonical), Metadata: metadata, Package: pkg, Version: version,
	})
	if err != nil {
		return domain.ApplicationID{}, errkind.Of(err).Errorf("install %s: %w", canonical, err)
	}
	return id, nil
}

// InstallURL downloads a WASM file over http or https and installs it; with hash, content of another SHA-256 is refused.
// The URL becomes the source.
func (s *Service) InstallURL(ctx context.Context, address string, metadata []byte, hash *domain.Hash) (domain.ApplicationID, error) {
	if len(address) > MaxURL {
		return domain.ApplicationID{}, errkind.TooLarge.Errorf("url has %d bytes, limit %d", len(address), MaxURL)
	}
	u, err := parseURL(address)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	if strings.HasSuffix(u.Path, ".mpk") {
		return domain.ApplicationID{}, errkind.Of(errBundle()).Errorf("install %s: %w", u.Redacted(), errBundle())
	}
	wasm, err := s.download(ctx, u)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	if got := domain.Hash(sha256.Sum256(wasm)); hash != nil && got != *hash {
		return domain.ApplicationID{}, errkind.Invalid.Errorf("install %s: hash mismatch: expected %s, content has %s",
			u.Redacted(), hash, got)
	}
	id, err := s.install(ctx, wasm, wire.ApplicationRecord{Source: u.String(), Metadata: metadata})
	if err != nil {
		return domain.ApplicationID{}, errkind.Of(err).Errorf("install %s: %w", u.Redacted(), err)
	}
	return id, nil
}

// install checks a module and stores it with its record, in one commit.
func (s *Service) install(ctx context.Context, wasm []byte, record wire.ApplicationRecord) (domain.ApplicationID, error) {
	if record.Package == "" {
		record.Package = wire.UnknownPackage
	}
	if record.Version == "" {
		record.Version = wire.UnknownVersion
	}
	if err := checkRecord(record); err != nil {
		return domain.ApplicationID{}, err
	}
	if err := s.check(ctx, wasm); err != nil {
		return domain.ApplicationID{}, err
	}
	b := s.db.Batch()
	defer b.Abandon()
	info, err := s.blobs.Add(ctx, b, bytes.NewReader(wasm), nil, s.opts.MaxModule)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	record.Bytecode, record.Size = info.ID, info.Size
	id := domain.WASMApplicationID(info.ID, info.Size, record.Source, record.Metadata)
	store.Application.Put(b, id, record)
	if err := b.Commit(ctx); err != nil {
		return domain.ApplicationID{}, fmt.Errorf("store application %s: %w", id, err)
	}
	return id, nil
}

// Expect notes an application whose module is to come from a peer; one that is known stays as it is.
func (s *Service) Expect(ctx context.Context, id domain.ApplicationID, bytecode domain.BlobID, source string) error {
	if _, known, err := s.Get(ctx, id); err != nil || known {
		return err
	}
	b := s.db.Batch()
	store.Application.Put(b, id, wire.ApplicationRecord{
		Bytecode: bytecode, Source: source, Package: wire.UnknownPackage, Version: wire.UnknownVersion,
	})
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("note application %s: %w", id, err)
	}
	return nil
}

// arrivalTime is how long Arrive waits.
const arrivalTime = 10 * time.Second

// Arrive waits for an application that is expected from a peer, up to ten seconds. It is false when it did not come, and at
// once when it is not expected or cannot run here.
func (s *Service) Arrive(ctx context.Context, id domain.ApplicationID) (bool, error) {
	late := time.NewTimer(arrivalTime)
	defer late.Stop()
	for {
		s.mu.Lock()
		_, refused := s.refused[id]
		arrived := s.arrived
		s.mu.Unlock()
		app, found, err := s.Get(ctx, id)
		if err != nil || !found || refused || app.Size > 0 {
			return found && app.Size > 0, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-late.C:
			return false, nil
		case <-arrived:
		}
	}
}

// Complete makes an application of a record whose module came from a peer: the module is checked as at an installation,
// and its size noted. A module that cannot run here is refused and removed, kind Invalid or Unsupported; the record stays.
func (s *Service) Complete(ctx context.Context, id domain.ApplicationID) error {
	err := s.complete(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errkind.Of(err) == errkind.Invalid {
		s.refused[id] = struct{}{}
	} else {
		delete(s.refused, id)
	}
	close(s.arrived)
	s.arrived = make(chan struct{})
	return err
}

func (s *Service) complete(ctx context.Context, id domain.ApplicationID) error {
	app, found, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if !found {
		return errkind.NotFound.Errorf("application %s is not installed", id)
	}
	wasm, err := s.readBlob(ctx, app.Bytecode)
	if err == nil {
		err = s.check(ctx, wasm)
	}
	if k := errkind.Of(err); k == errkind.Invalid || k == errkind.Unsupported || k == errkind.TooLarge {
		return errors.Join(errkind.Invalid.Errorf("application %s: %w", id, err), s.blobs.Delete(ctx, app.Bytecode))
	}
	if err != nil {
		return fmt.Errorf("check application %s: %w", id, err)
	}
	app.Size = uint64(len(wasm))
	if own := domain.WASMApplicationID(app.Bytecode, app.Size, app.Source, app.Metadata); own != id {
		s.opts.Logger.Info("an application's id cannot be recomputed: its metadata did not come with the invitation",
			"application", id, "bytecode", app.Bytecode)
	}
	b := s.db.Batch()
	store.Application.Put(b, id, app.ApplicationRecord)
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("store application %s: %w", id, err)
	}
	return nil
}

func (s *Service) readBlob(ctx context.Context, id domain.BlobID) ([]byte, error) {
	r, err := s.blobs.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return s.readModule(r)
}

func checkRecord(record wire.ApplicationRecord) error {
	for _, field := range []struct {
		name  string
		size  int
		limit int
	}{
		{"metadata", len(record.Metadata), MaxMetadata},
		{"package", len(record.Package), MaxPackage},
		{"version", len(record.Version), MaxVersion},
	} {
		if field.size > field.limit {
			return errkind.TooLarge.Errorf("%s has %d bytes, limit %d", field.name, field.size, field.limit)
		}
	}
	for name, text := range map[string]string{"package": record.Package, "version": record.Version, "source": record.Source} {
		if !utf8.ValidString(text) {
			return errkind.Invalid.Errorf("%s is not valid UTF-8", name)
		}
	}
	return nil
}

func canonicalPath(path string) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", errkind.Invalid.Errorf("path %q is not a file name", path)
	}
	canonical, err := filepath.Abs(path)
	if err == nil {
		canonical, err = filepath.EvalSymlinks(canonical)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", errkind.NotFound.Errorf("application file not found at %s", path)
	}
	if err != nil {
		return "", errkind.Invalid.Errorf("find application file: %w", err)
	}
	return canonical, nil
}

func (s *Service) readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for its other end
		return nil, errkind.Invalid.Errorf("application file %s is not a regular file", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.NotFound.Errorf("application file not found at %s", path)
	}
	if err != nil {
		return nil, errkind.Invalid.Errorf("open application file: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, errkind.Invalid.Errorf("open application file: %w", err)
	}
	defer f.Close()
	wasm, err := s.readModule(f)
	if err != nil {
		return nil, errkind.Of(err).Errorf("read application file %s: %w", path, err)
	}
	return wasm, nil
}

func (s *Service) readModule(r io.Reader) ([]byte, error) {
	wasm, err := io.ReadAll(io.LimitReader(r, int64(s.opts.MaxModule)+1))
	if err != nil {
		return nil, err
	}
	if uint64(len(wasm)) > s.opts.MaxModule {
		return nil, errkind.TooLarge.Errorf("module is larger than %d bytes (execution.max_module)", s.opts.MaxModule)
	}
	return wasm, nil
}

// fileURL writes an absolute path as the reference does, since the text is part of the application's id: what WHATWG
// URLs escape in a path, byte by byte.
func fileURL(path string) string {
	const escaped = " \"#<>?`{}%\\"
	var out strings.Builder
	out.WriteString("file://")
	for _, c := range []byte(filepath.ToSlash(path)) {
		if c <= 0x1f || c >= 0x7f || strings.IndexByte(escaped, c) >= 0 {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// parseURL reads and normalises an http or https URL.
func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errkind.Invalid.Errorf("read application url: %w", err)
	}
	if err := checkScheme(u); err != nil {
		return nil, err
	}
	if u.Hostname() == "" {
		return nil, errkind.Invalid.Errorf("application url %s has no host", u.Redacted())
	}
	u.Host = strings.ToLower(u.Host)
	if u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443" {
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.ResolveReference(u), nil // takes . and .. out of the path
}

func checkScheme(u *url.URL) error {
	if u.Scheme == "http" || u.Scheme == "https" {
		return nil
	}
	return errkind.Invalid.Errorf("application url has scheme %q: use http or https, or install a file of the node's machine by its path",
		u.Scheme)
}

func newClient(opts Options) *http.Client {
	transport := opts.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
		t.DisableCompression = true
		transport = t
	}
	return &http.Client{
		Transport: transport,
		Timeout:   opts.DownloadTime,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errkind.Invalid.Errorf("more than %d redirects", maxRedirects)
			}
			return checkScheme(req.URL)
		},
	}
}

func (s *Service) download(ctx context.Context, u *url.URL) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errkind.Invalid.Errorf("download application: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, downloadError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, 4*maxErrorBody))
		if err != nil {
			body = []byte("<unreadable body>")
		}
		text := []rune(strings.ToValidUTF8(string(body), "\uFFFD"))
		return nil, errkind.Unavailable.Errorf("Registry returned HTTP %s for %s: %s", resp.Status, u.Redacted(),
			string(text[:min(len(text), maxErrorBody)]))
	}
	if resp.ContentLength > int64(s.opts.MaxModule) {
		return nil, errkind.TooLarge.Errorf("download %s: module of %d bytes, limit %d", u.Redacted(), resp.ContentLength,
			s.opts.MaxModule)
	}
	wasm, err := s.readModule(resp.Body)
	if err != nil {
		return nil, downloadError(fmt.Errorf("download %s: %w", u.Redacted(), err))
	}
	return wasm, nil
}

// downloadError gives an error of the network its kind and keeps those that have one.
func downloadError(err error) error {
	if errkind.Of(err) != errkind.Unknown {
		return errkind.Of(err).Errorf("download application: %w", err)
	}
	return errkind.Unavailable.Errorf("download application: %w", err)
}
