package api

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// putBlob stores the body as it comes.
func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var expect *domain.Hash
	if text := query.Get("hash"); query.Has("hash") {
		hash, err := domain.ParseHash(text)
		if err != nil {
			fail(w, http.StatusBadRequest, "The provided hash is not a valid format")
			return
		}
		expect = &hash
	}
	id, err := domain.ParseContextID(query.Get("context_id"))
	if query.Has("context_id") && err != nil {
		fail(w, http.StatusBadRequest, "The provided context_id is not a valid format")
		return
	}
	body := &patientReader{s: s, c: http.NewResponseController(w), r: r.Body}
	info, err := s.deps.Blobs.PutLimit(r.Context(), body, expect, s.opts.MaxUpload)
	switch {
	case errors.Is(err, errkind.TooLarge):
		w.Header().Set("Connection", "close") // what is left of the body is not read
		fail(w, http.StatusRequestEntityTooLarge, "Failed to store blob: "+err.Error())
	case err != nil:
		fail(w, s.failureStatus(w, r, err), "Failed to store blob: "+err.Error())
	default:
		if query.Has("context_id") && s.deps.Peers != nil {
			if err := s.deps.Peers.Announce(r.Context(), id, info.ID, info.Size); err != nil {
				s.log.Warn("a blob is not announced", "blob", info.ID, "error", err)
			}
		}
		s.answerData(w, schema.Blob{BlobID: info.ID, Size: info.Size})
	}
}

// patientReader reads as long as something arrives within BodyTimeout.
type patientReader struct {
	s *Server
	c *http.ResponseController
	r io.Reader
}

func (p *patientReader) Read(b []byte) (int, error) {
	p.s.ignoreUnsupported(p.c.SetReadDeadline(time.Now().Add(p.s.opts.BodyTimeout)))
	n, err := p.r.Read(b)
	if errors.Is(err, io.EOF) { // as in readBody
		p.s.ignoreUnsupported(p.c.SetReadDeadline(time.Time{}))
	}
	return n, err
}

func (s *Server) listBlobs(w http.ResponseWriter, r *http.Request) {
	all, err := s.deps.Blobs.List(r.Context())
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := schema.Blobs{Blobs: make([]schema.Blob, len(all))}
	for i, b := range all {
		list.Blobs[i] = schema.Blob{BlobID: b.ID, Size: b.Size}
	}
	s.answerData(w, list)
}

// blobOf reads the blob's id; false when it answered.
func blobOf(w http.ResponseWriter, r *http.Request) (domain.BlobID, bool) {
	id, err := domain.ParseBlobID(r.PathValue("blob_id"))
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid blob ID format")
		return id, false
	}
	if query := r.URL.Query(); query.Has("context_id") {
		if _, err := domain.ParseContextID(query.Get("context_id")); err != nil {
			fail(w, http.StatusBadRequest, "Invalid context ID format")
			return id, false
		}
	}
	return id, true
}

func (s *Server) blobFailed(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errkind.NotFound):
		fail(w, http.StatusNotFound, "Blob not found locally or in network")
	default:
		fail(w, s.failureStatus(w, r, err), "Failed to retrieve blob: "+err.Error())
	}
	return true
}

func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) {
	id, ok := blobOf(w, r)
	if !ok {
		return
	}
	blob, err := s.deps.Blobs.Open(r.Context(), id)
	if errors.Is(err, errkind.NotFound) && r.URL.Query().Has("context_id") && s.deps.Peers != nil {
		blob, err = s.fetchBlob(r, id)
	}
	if s.blobFailed(w, r, err) {
		return
	}
	defer blob.Close()
	head := make([]byte, min(blob.Info().Size, sniffed))
	if _, err := io.ReadFull(blob, head); s.blobFailed(w, r, err) {
		return
	}
	blobHeaders(w, blob.Info(), head)
	w.WriteHeader(http.StatusOK)
	out := &patientWriter{s: s, c: http.NewResponseController(w), w: w}
	if _, err := io.CopyBuffer(out, io.MultiReader(bytes.NewReader(head), blob), make([]byte, 64<<10)); err != nil {
		if r.Context().Err() == nil {
			s.log.Warn("blob was not sent as a whole", "blob", id, "error", err)
		}
		panic(http.ErrAbortHandler) // the client must not take it for the whole
	}
}

// fetchBlob brings a blob of the context that the query names here.
func (s *Server) fetchBlob(r *http.Request, id domain.BlobID) (*blobs.Reader, error) {
	context, err := domain.ParseContextID(r.URL.Query().Get("context_id"))
	if err != nil {
		return nil, errkind.Invalid.Wrap(err) // blobOf has read it before
	}
	if err := s.deps.Peers.Fetch(r.Context(), context, id); err != nil {
		return nil, err
	}
	return s.deps.Blobs.Open(r.Context(), id)
}

// patientWriter writes as long as the client takes something within WriteTimeout.
type patientWriter struct {
	s *Server
	c *http.ResponseController
	w io.Writer
}

func (p *patientWriter) Write(b []byte) (int, error) {
	p.s.ignoreUnsupported(p.c.SetWriteDeadline(time.Now().Add(p.s.opts.WriteTimeout)))
	return p.w.Write(b)
}

func (s *Server) headBlob(w http.ResponseWriter, r *http.Request) {
	id, ok := blobOf(w, r)
	if !ok {
		return
	}
	info, err := s.deps.Blobs.Info(r.Context(), id)
	if s.blobFailed(w, r, err) {
		return
	}
	head, err := s.deps.Blobs.ReadAt(r.Context(), id, 0, sniffed)
	if s.blobFailed(w, r, err) {
		return
	}
	blobHeaders(w, info, head)
	w.WriteHeader(http.StatusOK)
}

// sniffed is how much of a blob its MIME type is guessed from.
const sniffed = 512

func blobHeaders(w http.ResponseWriter, info blobs.Info, head []byte) {
	hash, kind := hex.EncodeToString(info.Hash[:]), mimeType(head)
	h := w.Header()
	h.Set("Content-Length", strconv.FormatUint(info.Size, 10))
	h.Set("Content-Type", kind)
	h.Set("ETag", `"`+hash+`"`)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("X-Blob-ID", info.ID.String())
	h.Set("X-Blob-Hash", hash)
	h.Set("X-Blob-MIME-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Expose-Headers", "X-Blob-ID, X-Blob-Hash, X-Blob-MIME-Type, ETag")
}

// mimeType names what is known by its first bytes. Text is not: a browser would run a page that somebody uploaded as
// one of the node's own.
func mimeType(head []byte) string {
	if bytes.HasPrefix(head, []byte("\x00asm")) {
		return "application/wasm"
	}
	kind, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if strings.HasPrefix(kind, "text/") {
		return "application/octet-stream"
	}
	return kind
}

func (s *Server) deleteBlob(w http.ResponseWriter, r *http.Request) {
	id, ok := blobOf(w, r)
	if !ok {
		return
	}
	err := s.deps.Blobs.Delete(r.Context(), id)
	switch {
	case errors.Is(err, errkind.NotFound):
		fail(w, http.StatusNotFound, "Blob not found")
	case err != nil:
		fail(w, s.failureStatus(w, r, err), "Failed to delete blob: "+err.Error())
	default:
		s.answer(w, schema.BlobDeleted{BlobID: id, Deleted: true})
	}
}
