package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func TestNodeRoutes(t *testing.T) {
	t.Parallel()
	var fault error
	w := newWorld(t, allOn(), func(d *api.Deps) { d.Ready = func(context.Context) error { return fault } })
	for path, want := range map[string]string{
		"/health": `{"data":{"status":"alive"}}`, "/is-authed": `{"data":{"status":"alive"}}`, "/peers": `{"count":0}`,
		"/ready": `{"data":{"status":"ready"}}`,
	} {
		requireAnswer(t, w.get(t, "/admin-api"+path), http.StatusOK, want)
	}
	requireAnswer(t, w.get(t, "/admin-api/certificate"), http.StatusNotFound, "Certificate not found")
	requireAnswer(t, w.get(t, "/admin-api/nothing"), http.StatusNotFound, "")
	requireAnswer(t, w.get(t, "/"), http.StatusNotFound, "")
	requireAnswer(t, w.get(t, "/admin-api//health"), http.StatusNotFound, "")
	a := w.do(t, http.MethodPatch, "/admin-api/contexts", "", "")
	requireAnswer(t, a, http.StatusMethodNotAllowed, "")
	require.Equal(t, "GET,HEAD,POST", a.header.Get("Allow"))
	head := w.do(t, http.MethodHead, "/admin-api/health", "", "")
	requireAnswer(t, head, http.StatusOK, "")

	fault = errors.New("the storage plugin is down")
	requireAnswer(t, w.get(t, "/admin-api/ready"), http.StatusServiceUnavailable, `{"error":"not ready: the storage plugin is down"}`)
	metrics := w.get(t, "/metrics")
	require.Contains(t, metrics.body, `calimero_http_requests_total{method="GET",route="/admin-api/ready",status="503"} 1`)
}

func TestCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, w.url+"/anything", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Origin", "https://app.example")
	req.Header.Set("Access-Control-Request-Private-Network", "true")
	a := send(t, req)
	requireAnswer(t, a, http.StatusOK, "")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*",
		"Access-Control-Allow-Methods":         "POST,GET,DELETE,PUT,OPTIONS",
		"Access-Control-Allow-Private-Network": "true",
		"Vary":                                 "origin, access-control-request-method, access-control-request-headers",
	} {
		require.Equal(t, want, a.header.Get(name), name)
	}
	require.Equal(t, "*", w.get(t, "/admin-api/health").header.Get("Access-Control-Allow-Origin"))

	o := allOn()
	o.CORSOrigins = []string{"https://app.example"}
	w = newWorld(t, o, nil)
	req.URL, err = req.URL.Parse(w.url + "/jsonrpc")
	require.NoError(t, err)
	require.Equal(t, "https://app.example", send(t, req).header.Get("Access-Control-Allow-Origin"))
	req.Header.Set("Origin", "https://evil.example")
	a = send(t, req)
	require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, a.header.Get("Access-Control-Allow-Methods"))

	o.CORSOrigins = nil
	w = newWorld(t, o, nil)
	require.Equal(t, http.StatusMethodNotAllowed, w.do(t, http.MethodOptions, "/jsonrpc", "", "").status)
}

func TestApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	w.apps.path = func(path string, metadata []byte, pkg, version string) (domain.ApplicationID, error) {
		if path != "/a.wasm" {
			return domain.ApplicationID{}, errkind.NotFound.Errorf("application file not found at %s", path)
		}
		require.Equal(t, []byte{1, 255}, metadata)
		require.Equal(t, "com.example.kv", pkg)
		require.Empty(t, version)
		return appA, nil
	}
	w.apps.url = func(url string, _ []byte, hash *domain.Hash) (domain.ApplicationID, error) {
		require.Equal(t, "http://h/", url)
		require.Nil(t, hash)
		return appA, nil
	}
	installed := `{"data":{"applicationId":"` + appA.String() + `"}}`
	requireAnswer(t, w.post(t, "/admin-api/install-dev-application", `{"path":"/a.wasm","metadata":[1,255],"package":"com.example.kv"}`), 200, installed)
	requireAnswer(t, w.post(t, "/admin-api/install-application", `{"url":"http://h","metadata":[]}`), 200, installed)
	a := w.post(t, "/admin-api/install-dev-application", `{"path":"/b","metadata":[]}`)
	requireAnswer(t, a, 500, "application file not found at /b")
	require.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))

	for body, want := range map[string]string{
		`{"path":"/a"}`: "Invalid JSON data: Failed to deserialize the JSON body into the target type: missing field `metadata` at line 1 column 13",
		`{"path"`:       "JSON syntax error: Failed to parse the request body as JSON: EOF while parsing an object at line 1 column 7",
		`{"path":"` + strings.Repeat("x", 4097) + `","metadata":[],"version":"` + strings.Repeat("v", 65) + `"}`: "Validation errors: Field 'path' exceeds maximum length of 4096 characters (got 4097); Field 'version' exceeds maximum length of 64 characters (got 65)",
	} {
		requireAnswer(t, w.post(t, "/admin-api/install-dev-application", body), 400, `{"error":`+text(t, want)+`}`)
	}
	requireAnswer(t, w.do(t, http.MethodPost, "/admin-api/install-application", "", "{}"), 400,
		"{\"error\":\"Expected request with `Content-Type: application/json`\"}")
	requireAnswer(t, w.post(t, "/admin-api/install-application", strings.Repeat(" ", 2<<20+1)), 400,
		`{"error":"Failed to read request body: Failed to buffer the request body: length limit exceeded"}`)

	requireAnswer(t, w.get(t, "/admin-api/applications"), 200, `{"data":{"apps":[]}}`)
	w.apps.installed = []apps.Application{{ID: appA, ApplicationRecord: wire.ApplicationRecord{
		Bytecode: fill[domain.BlobID](9), Size: 5, Source: "file:///a.wasm?x=<&>", Metadata: []byte{1}, Version: "1.0.0",
	}}}
	app := `{"id":"` + appA.String() + `","blob":{"bytecode":"` + fill[domain.BlobID](9).String() +
		`","compiled":"11111111111111111111111111111111"},"size":5,"source":"file:///a.wasm?x=<&>","metadata":[1]}`
	requireAnswer(t, w.get(t, "/admin-api/applications"), 200, `{"data":{"apps":[`+app+`]}}`)
	requireAnswer(t, w.get(t, "/admin-api/applications/"+appA.String()), 200, `{"data":{"application":`+app+`}}`)
	requireAnswer(t, w.get(t, "/admin-api/applications/"+ctxA.String()), 200, `{"data":{"application":null}}`)
	requireAnswer(t, w.get(t, "/admin-api/applications/0"), 400, "Invalid URL: invalid base58")
	requireAnswer(t, w.do(t, http.MethodDelete, "/admin-api/applications/"+appA.String(), "", ""), 200, installed)
	requireAnswer(t, w.get(t, "/admin-api/packages"), 200, `{"packages":["com.example.kv"]}`)
	requireAnswer(t, w.get(t, "/admin-api/packages/com.example.kv/versions"), 200, `{"versions":["1.0.0"]}`)
	requireAnswer(t, w.get(t, "/admin-api/packages/x/versions"), 200, `{"versions":[]}`)
	requireAnswer(t, w.get(t, "/admin-api/packages/com.example.kv/latest"), 200, `{"applicationId":"`+appA.String()+`","version":"1.0.0"}`)
	requireAnswer(t, w.get(t, "/admin-api/packages/x/latest"), 200, `{"applicationId":null,"version":null}`)
}

func TestContexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	gone := &contexts.CallError{Type: contexts.ContextNotFound}
	info := contexts.Info{ID: ctxA, Application: appA, DagHeads: []domain.Hash{fill[domain.Hash](7)}}
	w.contexts.list = func(app *domain.ApplicationID) ([]contexts.Info, error) {
		if app != nil && *app != appA {
			return nil, nil
		}
		return []contexts.Info{info}, nil
	}
	w.contexts.get = func(id domain.ContextID) (contexts.Info, error) {
		switch id {
		case ctxA:
			return info, nil
		case ctxB:
			return contexts.Info{}, errors.New("disk is full")
		}
		return contexts.Info{}, gone
	}
	w.contexts.identities = func(id domain.ContextID, owned bool) ([]domain.PublicKey, error) {
		if id != ctxA {
			return nil, gone
		}
		if owned {
			return nil, nil
		}
		return []domain.PublicKey{keyA}, nil
	}
	w.contexts.group = func(domain.ContextID) (*domain.GroupID, error) {
		g := domain.GroupID(ctxA)
		return &g, nil
	}
	heads := strings.Repeat("7,", 31) + "7"
	described := `{"id":"` + ctxA.String() + `","applicationId":"` + appA.String() +
		`","rootHash":"11111111111111111111111111111111","dagHeads":[[` + heads + `]]}`
	const path = "/admin-api/contexts"
	id := "/" + ctxA.String()
	requireAnswer(t, w.get(t, path), 200, `{"data":{"contexts":[`+described+`]}}`)
	requireAnswer(t, w.get(t, path+"/for-application/"+appA.String()), 200, `{"data":{"contexts":[`+described+`]}}`)
	requireAnswer(t, w.get(t, path+"/for-application"+id), 200, `{"data":{"contexts":[]}}`)
	requireAnswer(t, w.get(t, path+"/with-executors/for-application/"+appA.String()), 200, `{"contexts":[{"id":"`+ctxA.String()+
		`","application_id":"`+appA.String()+`","root_hash":"11111111111111111111111111111111","executors":["`+keyA.String()+`"]}]}`)
	requireAnswer(t, w.get(t, path+id), 200, `{"data":`+described+`}`)
	requireAnswer(t, w.get(t, path+"/"+keyA.String()), 404, `{"error":"Context not found"}`)
	requireAnswer(t, w.get(t, path+"/"+ctxB.String()), 500, `{"error":"disk is full"}`)
	requireAnswer(t, w.get(t, path+id+"/storage"), 200, `{"data":{"sizeInBytes":0}}`)
	requireAnswer(t, w.get(t, path+id+"/identities"), 200, `{"data":{"identities":["`+keyA.String()+`"]}}`)
	requireAnswer(t, w.get(t, path+id+"/identities-owned"), 200, `{"data":{"identities":[]}}`)
	requireAnswer(t, w.get(t, path+"/"+ctxB.String()+"/identities"), 404, `{"error":"Context not found"}`)
	requireAnswer(t, w.get(t, path+id+"/group"), 200, `{"data":"`+hex.EncodeToString(ctxA[:])+`"}`)
	for _, body := range []string{"", "null", "{}"} {
		requireAnswer(t, w.do(t, http.MethodPost, path+"/sync", "", body), 200, `{"data":null}`)
		requireAnswer(t, w.post(t, path+"/sync/whatever", body), 200, `{"data":null}`)
	}
}

func TestCreateAndDeleteContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	var got contexts.CreateRequest
	w.contexts.create = func(r contexts.CreateRequest) (contexts.CreateResponse, error) {
		got = r
		return contexts.CreateResponse{Context: ctxA, Member: keyA}, nil
	}
	hexes := strings.Repeat("ab", 32)
	requireAnswer(t, w.post(t, "/admin-api/contexts", `{"protocol":"near","applicationId":"`+appA.String()+
		`","initializationParams":[123,125],"contextSeed":"`+ctxB.String()+`","groupId":"`+hexes+`","identitySecret":"`+hexes+`","alias":"me"}`),
		200, `{"data":{"contextId":"`+ctxA.String()+`","memberPublicKey":"`+keyA.String()+`"}}`)
	require.Equal(t, "{}", string(got.InitParams))
	require.Equal(t, domain.Hash(ctxB), *got.Seed)
	require.Equal(t, fill[domain.GroupID](0xab), *got.Group)
	require.Equal(t, fill[[32]byte](0xab), *got.IdentitySecret)
	require.Equal(t, "me", *got.Alias)
	for field, want := range map[string]string{
		`"groupId":"zz"`:        "Invalid group_id: expected hex-encoded 32 bytes",
		`"groupId":"abcd"`:      "Invalid group_id: must be exactly 32 bytes",
		`"identitySecret":"ab"`: "Invalid identity_secret: must be exactly 32 bytes",
	} {
		requireAnswer(t, w.post(t, "/admin-api/contexts", `{"applicationId":"`+appA.String()+`","initializationParams":[],`+field+`}`),
			400, `{"error":"`+want+`"}`)
	}
	w.contexts.create = func(contexts.CreateRequest) (contexts.CreateResponse, error) {
		return contexts.CreateResponse{}, errkind.NotFound.Errorf("application not found")
	}
	requireAnswer(t, w.post(t, "/admin-api/contexts", `{"applicationId":"`+appA.String()+`","initializationParams":[]}`),
		500, `{"error":"application not found"}`)

	var requester *domain.PublicKey
	w.contexts.remove = func(_ domain.ContextID, r *domain.PublicKey) (bool, error) {
		requester = r
		return r != nil, nil
	}
	path := "/admin-api/contexts/" + ctxA.String()
	requireAnswer(t, w.do(t, http.MethodDelete, path, jsonType, `{"requester":"`+keyA.String()+`"}`), 200, `{"data":{"isDeleted":true}}`)
	require.Equal(t, keyA, *requester)
	for _, body := range []string{"", "{", `{"requester":5}`, "null"} {
		requireAnswer(t, w.do(t, http.MethodDelete, path, jsonType, body), 200, `{"data":{"isDeleted":false}}`)
	}
	requireAnswer(t, w.do(t, http.MethodDelete, "/admin-api/contexts/0", "", ""), 400, `{"error":"Invalid context id"}`)
}

// What needs the network says so, after its input was checked; nothing pretends to have worked.
func TestNotAvailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	array := "[" + strings.Repeat("1,", 31) + "1]"
	id := `"` + ctxA.String() + `"`
	for path, body := range map[string]string{
		"/contexts/invite":                  `{"contextId":` + id + `,"inviterId":` + id + `,"validForSeconds":60}`,
		"/contexts/invite-specialized-node": `{"contextId":` + id + `}`,
		"/contexts/join": `{"invitation":{"invitation":{"inviter_identity":` + array + `,"context_id":` + array +
			`,"expiration_timestamp":1,"secret_salt":` + array + `},"inviter_signature":"ab"},"newMemberPublicKey":` + id + `}`,
		"/contexts/" + ctxA.String() + "/capabilities/grant":  `{"capabilities":[[` + id + `,"Proxy"]],"signer_id":` + id + `}`,
		"/contexts/" + ctxA.String() + "/capabilities/revoke": `{"capabilities":[],"signer_id":` + id + `}`,
		"/contexts/" + ctxA.String() + "/application":         `{"applicationId":` + id + `,"executorPublicKey":` + id + `}`,
	} {
		a := w.post(t, "/admin-api"+path, body)
		require.Equal(t, 500, a.status, path)
		require.Contains(t, a.body, "not available in this version", path)
		require.Equal(t, 400, w.post(t, "/admin-api"+path, `{}`).status, path)
	}
	requireAnswer(t, w.post(t, "/admin-api/contexts/invite", `{"contextId":`+id+`,"inviterId":`+id+`,"validForSeconds":31536001}`),
		400, `{"error":"Field 'valid_for_seconds' value 31536001 exceeds maximum of 31536000"}`)
}

func TestAliases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	const null = `{"data":null}`
	create := `{"alias":"a b","contextId":"` + ctxA.String() + `"}`
	requireAnswer(t, w.post(t, "/admin-api/alias/create/context", create), 200, null)
	requireAnswer(t, w.post(t, "/admin-api/alias/create/context", create), 500, "alias already exists")
	requireAnswer(t, w.post(t, "/admin-api/alias/create/application", `{"alias":"app","applicationId":"`+appA.String()+`"}`), 200, null)
	requireAnswer(t, w.post(t, "/admin-api/alias/create/identity/"+ctxA.String(), `{"alias":"me","identity":"`+keyA.String()+`"}`), 200, null)
	requireAnswer(t, w.post(t, "/admin-api/alias/create/identity/0", `{"alias":"me","identity":"`+keyA.String()+`"}`), 500, "alias requires scope to be present")
	requireAnswer(t, w.post(t, "/admin-api/alias/create/context", `{"alias":"`+strings.Repeat("x", 51)+`"}`), 422,
		"Failed to deserialize the JSON body into the target type: alias: exceeds maximum length of 50 characters at line 1 column 62")
	require.Equal(t, 415, w.do(t, http.MethodPost, "/admin-api/alias/create/context", "", create).status)

	for _, body := range []string{"", "null", "{}"} {
		requireAnswer(t, w.post(t, "/admin-api/alias/lookup/context/a%20b", body), 200, `{"data":{"value":"`+ctxA.String()+`"}}`)
	}
	requireAnswer(t, w.post(t, "/admin-api/alias/lookup/application/a%20b", ""), 200, `{"data":{"value":null}}`)
	requireAnswer(t, w.post(t, "/admin-api/alias/lookup/identity/"+ctxA.String()+"/me", ""), 200, `{"data":{"value":"`+keyA.String()+`"}}`)
	requireAnswer(t, w.post(t, "/admin-api/alias/lookup/identity/0/me", ""), 400, "invalid path params")
	requireAnswer(t, w.post(t, "/admin-api/alias/lookup/context/"+strings.Repeat("x", 51), ""), 400, "invalid path params")
	requireAnswer(t, w.get(t, "/admin-api/alias/list/context"), 200, `{"data":{"a b":"`+ctxA.String()+`"}}`)
	requireAnswer(t, w.get(t, "/admin-api/alias/list/application"), 200, `{"data":{"app":"`+appA.String()+`"}}`)
	requireAnswer(t, w.get(t, "/admin-api/alias/list/identity/"+ctxA.String()), 200, `{"data":{"me":"`+keyA.String()+`"}}`)
	requireAnswer(t, w.get(t, "/admin-api/alias/list/identity/"+ctxB.String()), 200, `{"data":{}}`)
	requireAnswer(t, w.get(t, "/admin-api/alias/list/identity/all"), 200, `{"data":{"me":"`+keyA.String()+`"}}`)
	for range 2 {
		requireAnswer(t, w.post(t, "/admin-api/alias/delete/context/a%20b", ""), 200, null)
	}
	requireAnswer(t, w.get(t, "/admin-api/alias/list/context"), 200, `{"data":{}}`)
	a := w.post(t, "/admin-api/identity/context", "null")
	require.Equal(t, 200, a.status)
	require.Regexp(t, `^\{"data":\{"publicKey":"[1-9A-Za-z]{43,44}"\}\}$`, a.body)
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.MaxUpload = 3 << 20
	w := newWorld(t, o, nil)
	content := "\x00asm" + strings.Repeat("x", 2<<20+100)
	id, hash := blobid.Of([]byte(content)), sha256.Sum256([]byte(content))
	put := func(query, body string) answer { return w.do(t, http.MethodPut, "/admin-api/blobs"+query, "", body) }
	requireAnswer(t, put("", content), 200, `{"data":{"blob_id":"`+id.String()+`","size":2097256}}`)
	requireAnswer(t, put("?hash="+domain.Hash(hash).String()+"&context_id="+ctxA.String(), content), 200, `{"data":{"blob_id":"`+id.String()+`","size":2097256}}`)
	requireAnswer(t, put("?hash=0", "x"), 400, `{"error":"The provided hash is not a valid format"}`)
	requireAnswer(t, put("?context_id=", "x"), 400, `{"error":"The provided context_id is not a valid format"}`)
	a := put("?hash="+ctxA.String(), "x")
	require.Equal(t, 500, a.status)
	require.Contains(t, a.body, `{"error":"Failed to store blob: `)
	require.Equal(t, 413, put("", strings.Repeat("y", 3<<20+1)).status)

	requireAnswer(t, w.get(t, "/admin-api/blobs"), 200, `{"data":{"blobs":[{"blob_id":"`+id.String()+`","size":2097256}]}}`)
	path := "/admin-api/blobs/" + id.String()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		a := w.do(t, method, path+"?context_id="+ctxA.String(), "", "")
		require.Equal(t, 200, a.status)
		if method == http.MethodGet {
			require.True(t, a.body == content, "content differs")
		}
		for name, want := range map[string]string{
			"Content-Length": "2097256", "Content-Type": "application/wasm", "ETag": `"` + hex.EncodeToString(hash[:]) + `"`,
			"Cache-Control": "public, max-age=3600", "X-Blob-Id": id.String(), "X-Blob-Hash": hex.EncodeToString(hash[:]),
			"X-Blob-Mime-Type":              "application/wasm",
			"Access-Control-Expose-Headers": "X-Blob-ID, X-Blob-Hash, X-Blob-MIME-Type, ETag",
		} {
			require.Equal(t, want, a.header.Get(name), name)
		}
	}
	require.Equal(t, 200, put("", "").status, "empty")
	empty := blobid.Of(nil)
	requireAnswer(t, w.get(t, "/admin-api/blobs/"+empty.String()), 200, "")
	require.Equal(t, 200, put("", "<html><script>alert(1)</script>").status)
	page := blobid.Of([]byte("<html><script>alert(1)</script>"))
	require.Equal(t, "application/octet-stream", w.get(t, "/admin-api/blobs/"+page.String()).header.Get("Content-Type"))

	requireAnswer(t, w.get(t, "/admin-api/blobs/"+ctxA.String()), 404, `{"error":"Blob not found locally or in network"}`)
	require.Equal(t, 404, w.do(t, http.MethodHead, "/admin-api/blobs/"+ctxA.String(), "", "").status)
	requireAnswer(t, w.get(t, "/admin-api/blobs/0"), 400, `{"error":"Invalid blob ID format"}`)
	requireAnswer(t, w.get(t, path+"?context_id=0"), 400, `{"error":"Invalid context ID format"}`)
	requireAnswer(t, w.do(t, http.MethodDelete, path, "", ""), 200, `{"blob_id":"`+id.String()+`","deleted":true}`)
	requireAnswer(t, w.do(t, http.MethodDelete, path, "", ""), 404, `{"error":"Blob not found"}`)
}

// The guard stands before unknown methods, and the routes of authentication beside it.
func TestGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), func(d *api.Deps) {
		d.Guard = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		d.AuthRoutes = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	})
	requireAnswer(t, w.get(t, "/jsonrpc"), http.StatusUnauthorized, "")
	requireAnswer(t, w.get(t, "/auth/login"), http.StatusOK, "/auth/login")
	requireAnswer(t, w.get(t, "/admin/keys"), http.StatusOK, "/admin/keys")
	require.Equal(t, http.StatusOK, w.do(t, http.MethodOptions, "/jsonrpc", "", "").status, "preflight")
}

func TestRoutesAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range api.Routes() {
		require.False(t, seen[r.Method+r.Pattern])
		seen[r.Method+r.Pattern] = true
		require.True(t, strings.HasPrefix(r.Pattern, "/"))
	}
	require.Len(t, seen, 91)
}

func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	w.contexts.get = func(domain.ContextID) (contexts.Info, error) { panic("boom") }
	requireAnswer(t, w.get(t, "/admin-api/contexts/"+ctxA.String()), 500, `{"error":"internal error"}`)
}
