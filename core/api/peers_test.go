package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// fakePeers has what the API passed on.
type fakePeers struct {
	valid     time.Duration
	joined    membership.Invitation
	member    domain.PublicKey
	synced    []*domain.ContextID
	announced []domain.BlobID
	bring     func(blob domain.BlobID) error
}

func (f *fakePeers) Count() int { return 3 }

func (f *fakePeers) Invite(_ context.Context, id domain.ContextID, inviter domain.PublicKey, valid time.Duration) (*membership.Invitation, error) {
	f.valid = valid
	switch id {
	case ctxB:
		return nil, nil
	case domain.ContextID{9}:
		return nil, errkind.NotFound.Errorf("Inviter identity %s not found for context %s", inviter, id)
	}
	source, app, blob, group := "file:///a.wasm", appA, domain.BlobID{1}, domain.GroupID{2}
	inv := &membership.Invitation{Signature: "ab", Application: &app, Blob: &blob, Source: &source, Group: &group}
	inv.Inviter, inv.Target, inv.Expiration, inv.Salt = inviter, id, 1774900000, [32]byte{3}
	return inv, nil
}

func (f *fakePeers) Join(_ context.Context, inv membership.Invitation, member domain.PublicKey) error {
	f.joined, f.member = inv, member
	return nil
}

func (f *fakePeers) Sync(_ context.Context, id *domain.ContextID) error {
	f.synced = append(f.synced, id)
	return errkind.Unsupported.Errorf("it needs a snapshot")
}

func (f *fakePeers) Trouble(id domain.ContextID) string {
	if id == ctxB {
		return "it needs a snapshot"
	}
	return ""
}

func (f *fakePeers) Announce(_ context.Context, _ domain.ContextID, blob domain.BlobID, _ uint64) error {
	f.announced = append(f.announced, blob)
	return nil
}

func (f *fakePeers) Fetch(_ context.Context, _ domain.ContextID, blob domain.BlobID) error {
	return f.bring(blob)
}

// TestPeers: invitations travel from one node's answer into another's request unchanged; sync never fails; blobs of a
// context are announced and fetched.
func TestPeers(t *testing.T) {
	t.Parallel()
	f := &fakePeers{}
	var store *blobs.Store
	w := newWorld(t, allOn(), func(d *api.Deps) {
		d.Peers = f
		store, _ = d.Blobs.(*blobs.Store)
	})
	requireAnswer(t, w.get(t, "/admin-api/peers"), 200, `{"count":3}`)

	invite := func(id domain.ContextID) answer {
		return w.post(t, "/admin-api/contexts/invite",
			`{"contextId":"`+id.String()+`","inviterId":"`+keyA.String()+`","validForSeconds":60}`)
	}
	requireAnswer(t, invite(ctxB), 200, `{"data":null}`)
	requireAnswer(t, invite(domain.ContextID{9}), 500,
		`{"error":"Inviter identity `+keyA.String()+` not found for context `+domain.ContextID{9}.String()+`"}`)
	a := invite(ctxA)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, time.Minute, f.valid)
	var sent struct{ Data json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(a.body), &sent))
	ints := func(b [32]byte) string {
		out, err := json.Marshal(schema.IntBytes32(b))
		require.NoError(t, err)
		return string(out)
	}
	require.JSONEq(t, `{"invitation":{"inviter_identity":`+ints(keyA)+`,"context_id":`+ints(ctxA)+
		`,"expiration_timestamp":1774900000,"secret_salt":`+ints([32]byte{3})+`},"inviter_signature":"ab","application_id":`+ints(appA)+
		`,"blob_id":`+ints([32]byte{1})+`,"source":"file:///a.wasm","group_id":`+ints([32]byte{2})+`}`, string(sent.Data))

	requireAnswer(t, w.post(t, "/admin-api/contexts/join", `{"invitation":`+string(sent.Data)+`,"newMemberPublicKey":"`+keyA.String()+`"}`),
		200, `{"data":{"contextId":"`+ctxA.String()+`","memberPublicKey":"`+keyA.String()+`"}}`)
	want, err := f.Invite(t.Context(), ctxA, keyA, 0)
	require.NoError(t, err)
	require.Equal(t, *want, f.joined)
	require.Equal(t, keyA, f.member)

	for _, path := range []string{"", "/" + ctxA.String(), "/nonsense"} {
		requireAnswer(t, w.post(t, "/admin-api/contexts/sync"+path, ""), 200, `{"data":null}`)
	}
	require.Nil(t, f.synced[0])
	require.Equal(t, ctxA, *f.synced[1])
	require.Nil(t, f.synced[2])

	w.contexts.get = func(id domain.ContextID) (contexts.Info, error) { return contexts.Info{ID: id}, nil }
	require.NotContains(t, w.get(t, "/admin-api/contexts/"+ctxA.String()).body, "syncError")
	require.Contains(t, w.get(t, "/admin-api/contexts/"+ctxB.String()).body, `"syncError":"it needs a snapshot"`)

	put := w.do(t, http.MethodPut, "/admin-api/blobs?context_id="+ctxA.String(), "", "content")
	require.Equal(t, 200, put.status, put.body)
	require.Len(t, f.announced, 1)
	require.Contains(t, put.body, f.announced[0].String())
	require.Equal(t, 200, w.do(t, http.MethodPut, "/admin-api/blobs", "", "more").status)
	require.Len(t, f.announced, 1)

	far := domain.BlobID{7}
	f.bring = func(domain.BlobID) error { return errkind.NotFound.Errorf("nobody has it") }
	requireAnswer(t, w.get(t, "/admin-api/blobs/"+far.String()+"?context_id="+ctxA.String()), 404,
		`{"error":"Blob not found locally or in network"}`)
	var here domain.BlobID
	f.bring = func(domain.BlobID) (err error) {
		here, _, err = store.Put(t.Context(), bytes.NewReader([]byte("from afar")), nil)
		return err
	}
	id, _, err := store.Put(t.Context(), strings.NewReader("from afar"), nil)
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), id))
	requireAnswer(t, w.get(t, "/admin-api/blobs/"+id.String()+"?context_id="+ctxA.String()), 200, "from afar")
	require.Equal(t, id, here)
	require.NoError(t, store.Delete(t.Context(), id))
	require.Equal(t, 404, w.get(t, "/admin-api/blobs/"+id.String()).status, "without a context nothing is fetched")
}
