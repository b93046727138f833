package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/core/api/schema"
)

// Texts of the reference's framework.
const (
	needsJSON  = "Expected request with `Content-Type: application/json`"
	notJSON    = "Failed to parse the request body as JSON: "
	wrongJSON  = "Failed to deserialize the JSON body into the target type: "
	bodyTooBig = "Failed to buffer the request body: length limit exceeded"
	bodyBroken = "Failed to buffer the request body: "
)

// bodyError is why a JSON body was not taken, with what the framework of the reference answers.
type bodyError struct {
	status int
	text   string
}

// isJSON is the framework's rule: application/json or application/…+json.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	sub, ok := strings.CutPrefix(media, "application/")
	return ok && (sub == "json" || strings.HasSuffix(sub, "+json"))
}

// readJSON reads a body of type JSON, at most MaxBody bytes of it.
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request) ([]byte, *bodyError) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, &bodyError{http.StatusUnsupportedMediaType, needsJSON}
	}
	body, err := s.readBody(w, r)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, &bodyError{http.StatusRequestEntityTooLarge, bodyTooBig}
	case err != nil:
		return nil, &bodyError{http.StatusBadRequest, bodyBroken + err.Error()}
	}
	return body, nil
}

func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.opts.MaxBody)))
	if err == nil {
		// While the request is worked on, net/http reads on to see the client leave: no deadline for that. After an error
		// it stays: net/http reads what is left of the body before it sends the answer.
		s.ignoreUnsupported(http.NewResponseController(w).SetReadDeadline(time.Time{}))
	}
	return body, err
}

// decodeError is what the framework answers for a body that cannot be decoded.
func decodeError(err error) *bodyError {
	var e *jsonvalue.Error
	if errors.As(err, &e) && !e.Syntax {
		return &bodyError{http.StatusUnprocessableEntity, wrongJSON + e.WithPath()}
	}
	return &bodyError{http.StatusBadRequest, notJSON + err.Error()}
}

// plainJSON is the extractor whose refusals are texts; false when it answered.
func (s *Server) plainJSON(w http.ResponseWriter, r *http.Request, to schema.Request) bool {
	body, fault := s.readJSON(w, r)
	if fault == nil {
		err := schema.Decode(body, to)
		if err == nil {
			return true
		}
		fault = decodeError(err)
	}
	failText(w, fault.status, fault.text)
	return false
}

// validJSON is the extractor that validates and whose refusals are all 400 of kind A; false when it answered.
func (s *Server) validJSON(w http.ResponseWriter, r *http.Request, to schema.Request) bool {
	body, fault := s.readJSON(w, r)
	if fault != nil {
		text := fault.text
		if text != needsJSON {
			text = "Failed to read request body: " + text
		}
		fail(w, http.StatusBadRequest, text)
		return false
	}
	if err := schema.Decode(body, to); err != nil {
		fault := decodeError(err)
		text := "JSON syntax error: " + fault.text
		if fault.status == http.StatusUnprocessableEntity {
			text = "Invalid JSON data: " + fault.text
		}
		fail(w, http.StatusBadRequest, text)
		return false
	}
	if text := schema.Invalid(to.Validate()); text != "" {
		fail(w, http.StatusBadRequest, text)
		return false
	}
	return true
}
