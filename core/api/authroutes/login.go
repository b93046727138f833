package authroutes

import (
	"crypto/rand"
	_ "embed"
	"io"
	"net/http"
	"strings"
)

// loginPage is one file without anything from elsewhere. Its script takes the query's callback-url, app-url and
// permissions, and hands the tokens over in the fragment of the callback's URL, which no server logs. It never writes
// text as HTML, and goes to http and https URLs only, whose origin it shows before anything is typed.
//
//go:embed login.html
var loginPage string

const noProvider = "<html><body><h1>No authentication provider is available</h1></body></html>"

func (s *Service) login(w http.ResponseWriter, r *http.Request) {
	providers, err := s.o.Auth.Providers(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "Failed to list providers: ", err)
		return
	}
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+
		"'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	page := noProvider
	if len(providers) > 0 {
		page = strings.ReplaceAll(loginPage, "{{nonce}}", nonce)
	}
	_, _ = io.WriteString(w, page) // the client is gone
}
