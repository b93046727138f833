package authroutes

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// unix is a time in seconds; null for none.
func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

func texts(list []string) []string { return append([]string{}, list...) } // never null

// grantor lists what the caller may give away.
func grantor(r *http.Request) []string {
	var list []string
	for _, p := range FromContext(r.Context()).Permissions {
		list = append(list, p.String())
	}
	return list
}

type keyView struct {
	ID          string   `json:"key_id"`
	PublicKey   string   `json:"public_key"`
	Method      string   `json:"auth_method"`
	Created     *int64   `json:"created_at"`
	Revoked     *int64   `json:"revoked_at"`
	Permissions []string `json:"permissions"`
}

func (s *Service) listKeys(w http.ResponseWriter, r *http.Request) {
	keys, err := s.o.Auth.Keys(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "", err)
		return
	}
	out := make([]keyView, 0, len(keys))
	for _, k := range keys {
		out = append(out, keyView{k.ID, k.PublicKey, k.Method, unix(k.Created), unix(k.Revoked), texts(k.Permissions)})
	}
	ok(w, out)
}

type clientView struct {
	ID          string   `json:"client_id"`
	RootKeyID   string   `json:"root_key_id"`
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"`
	Created     *int64   `json:"created_at"`
	Revoked     *int64   `json:"revoked_at"`
	Valid       bool     `json:"is_valid"`
}

func (s *Service) listClients(w http.ResponseWriter, r *http.Request) {
	keys, err := s.o.Auth.ClientKeys(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "", err)
		return
	}
	out := make([]clientView, 0, len(keys))
	for _, k := range keys {
		out = append(out, clientView{k.ID, k.RootKeyID, k.Name, texts(k.Permissions), unix(k.Created), unix(k.Revoked), k.Valid})
	}
	ok(w, out)
}

func (s *Service) createKey(w http.ResponseWriter, r *http.Request) {
	var q struct {
		PublicKey    string          `json:"public_key"`
		AuthMethod   string          `json:"auth_method"`
		ProviderData json.RawMessage `json:"provider_data"`
		NodeURL      *string         `json:"target_node_url"`
	}
	if !body(w, r, &q, nil) {
		return
	}
	req := auth.CreateKeyRequest{PublicKey: printable(q.PublicKey), Method: identifier(q.AuthMethod),
		ProviderData: q.ProviderData, Grantor: grantor(r)}
	if q.NodeURL != nil {
		req.NodeURL = *q.NodeURL
	}
	switch {
	case req.Method == "":
		fail(w, http.StatusBadRequest, "Authentication method must contain valid characters")
		return
	case req.PublicKey == "":
		fail(w, http.StatusBadRequest, "Public key cannot be empty after sanitization")
		return
	case len(req.ProviderData) == 0:
		required((*int)(nil), "provider_data", w)
		return
	}
	providers, err := s.o.Auth.Providers(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "", err)
		return
	}
	if !slices.ContainsFunc(providers, func(p auth.Provider) bool { return p.Name == req.Method }) {
		fail(w, http.StatusInternalServerError, "Provider not found")
		return
	}
	_, created, err := s.o.Auth.CreateKey(r.Context(), req)
	switch {
	case err == nil:
		message := "Key was updated"
		if created {
			message = "Key was created"
		}
		ok(w, map[string]any{"status": true, "message": message})
	case errors.Is(err, errkind.Invalid), errors.Is(err, errkind.TooLarge):
		fail(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, errkind.PermissionDenied):
		fail(w, http.StatusForbidden, err.Error())
	default:
		s.failed(w, r, http.StatusInternalServerError, "", err)
	}
}

func (s *Service) deleteKey(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("key_id")
	revoked, err := s.o.Auth.DeleteKey(r.Context(), id)
	switch {
	case err == nil:
		s.counts.revocations.Add(1)
		ok(w, map[string]any{"key_id": id, "revoked_at": unix(revoked)})
	case errors.Is(err, errkind.Precondition):
		ok(w, map[string]any{"status": false, "message": err.Error()})
	case errors.Is(err, errkind.NotFound), errors.Is(err, errkind.TooLarge):
		fail(w, http.StatusNotFound, "Root key not found")
	case errors.Is(err, errkind.Invalid):
		fail(w, http.StatusBadRequest, err.Error())
	default:
		s.failed(w, r, http.StatusInternalServerError, "", err)
	}
}

func (s *Service) deleteClient(w http.ResponseWriter, r *http.Request) {
	revoked, err := s.o.Auth.RevokeClientKey(r.Context(), r.PathValue("key_id"), r.PathValue("client_id"))
	switch {
	case err == nil:
		s.counts.revocations.Add(1)
		ok(w, map[string]any{"message": "Client key revoked successfully", "revoked_at": unix(revoked)})
	case errors.Is(err, errkind.NotFound), errors.Is(err, errkind.TooLarge):
		fail(w, http.StatusNotFound, "Client key not found")
	case errors.Is(err, errkind.Invalid):
		fail(w, http.StatusBadRequest, err.Error())
	default:
		s.failed(w, r, http.StatusInternalServerError, "", err)
	}
}

func (s *Service) revoke(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ClientID string `json:"client_id"`
	}
	if !body(w, r, &q, func() []rule { return []rule{{"client_id", q.ClientID, "Client ID is required"}} }) {
		return
	}
	if _, err := s.o.Auth.Revoke(r.Context(), q.ClientID); err != nil {
		s.failed(w, r, http.StatusInternalServerError, "Failed to revoke tokens: ", err)
		return
	}
	s.counts.revocations.Add(1)
	ok(w, map[string]any{"success": true, "message": "Tokens revoked successfully"})
}

func (s *Service) createClient(w http.ResponseWriter, r *http.Request) {
	caller := FromContext(r.Context())
	if !caller.Permissions.Allow(auth.Permission{Action: auth.Admin}) {
		fail(w, http.StatusForbidden, "Token does not have admin permissions")
		return
	}
	var q struct {
		Context     *string  `json:"context_id"`
		Identity    *string  `json:"context_identity"`
		Permissions []string `json:"permissions"`
		NodeURL     *string  `json:"target_node_url"`
	}
	if !body(w, r, &q, nil) {
		return
	}
	value := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	t, err := s.o.Auth.CreateClientKey(r.Context(), auth.CreateClientKeyRequest{RootKeyID: caller.RootKeyID,
		ContextID: identifier(value(q.Context)), Identity: identifier(value(q.Identity)), Permissions: q.Permissions,
		NodeURL: value(q.NodeURL)})
	switch {
	case err == nil:
		ok(w, tokenResponse{Access: t.Access, Refresh: t.Refresh})
	case errors.Is(err, errkind.NotFound):
		fail(w, http.StatusNotFound, "Root key not found")
	case errors.Is(err, errkind.Invalid), errors.Is(err, errkind.TooLarge):
		fail(w, http.StatusBadRequest, html.EscapeString(err.Error()))
	default:
		s.failed(w, r, http.StatusInternalServerError, "", err)
	}
}

func (s *Service) getPermissions(w http.ResponseWriter, r *http.Request) {
	list, err := s.o.Auth.Permissions(r.Context(), r.PathValue("key_id"))
	s.answerPermissions(w, r, list, err)
}

func (s *Service) putPermissions(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Add    []string `json:"add"`
		Remove []string `json:"remove"`
	}
	if !body(w, r, &q, nil) {
		return
	}
	clean := func(list []string) []string {
		var out []string
		for _, s := range list {
			if s = printable(s); s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	list, err := s.o.Auth.UpdatePermissions(r.Context(), auth.UpdatePermissionsRequest{KeyID: r.PathValue("key_id"),
		Add: clean(q.Add), Remove: clean(q.Remove), Grantor: grantor(r)})
	s.answerPermissions(w, r, list, err)
}

func (s *Service) answerPermissions(w http.ResponseWriter, r *http.Request, list []string, err error) {
	switch {
	case err == nil:
		ok(w, map[string]any{"permissions": texts(list)})
	case errors.Is(err, errkind.NotFound):
		fail(w, http.StatusNotFound, "Key not found")
	case errors.Is(err, errkind.Invalid), errors.Is(err, errkind.TooLarge), errors.Is(err, errkind.Precondition):
		fail(w, http.StatusBadRequest, strings.TrimSpace(err.Error()))
	case errors.Is(err, errkind.PermissionDenied):
		fail(w, http.StatusForbidden, err.Error())
	default:
		s.failed(w, r, http.StatusInternalServerError, "", err)
	}
}
