package replication_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// turn is a call on a node, or with at < 0 on all of them; want is JSON, empty for anything.
type turn struct {
	at           int
	method, args string
	want         string
}

// story is calls of a sample app on two nodes. The copies are equal between any two of them.
type story struct {
	params string
	turns  []turn
}

var stories = map[string]story{
	"collections": {turns: []turn{
		{0, "visit", `{}`, "1"}, {1, "visit", `{}`, "2"}, {-1, "visits", `{}`, "2"},
		{0, "change_stock", `{"by":5}`, "5"}, {1, "change_stock", `{"by":-7}`, "-2"}, {-1, "stock", `{}`, "-2"},
		{0, "set_title", `{"title":"one"}`, ""}, {1, "set_title", `{"title":"two"}`, ""}, {-1, "title", `{}`, `"two"`},
		{0, "push_line", `{"line":"a"}`, "1"}, {1, "push_line", `{"line":"b"}`, "2"}, {-1, "lines", `{}`, `["a","b"]`},
		{1, "set_line", `{"index":0,"line":"c"}`, `"a"`}, {0, "pop_line", `{}`, `"b"`}, {-1, "lines", `{}`, `["c"]`},
		{0, "add_tag", `{"tag":"x"}`, "true"}, {1, "add_tag", `{"tag":"y"}`, "true"}, {1, "remove_tag", `{"tag":"x"}`, "true"},
		{-1, "tags", `{}`, `["y"]`},
		{0, "score", `{"player":"p"}`, "1"}, {1, "score", `{"player":"p"}`, "2"}, {-1, "scores", `{}`, `{"p":2}`},
		{0, "set_cell", `{"row":"r","column":"c","value":"0"}`, "null"}, {1, "set_cell", `{"row":"r","column":"d","value":"1"}`, "null"},
		{-1, "table", `{}`, `{"r":{"c":"0","d":"1"}}`},
		{0, "insert_text", `{"position":0,"text":"hello"}`, ""}, {1, "insert_text", `{"position":5,"text":" world"}`, ""},
		{0, "delete_text", `{"start":0,"end":1}`, ""}, {-1, "text", `{}`, `"ello world"`},
		{1, "change_all", `{"word":"w"}`, ""},
	}},
	"owned": {turns: []turn{
		{0, "set_profile", `{"value":"of a"}`, "null"}, {1, "set_profile", `{"value":"of b"}`, "null"},
		{0, "profile_of", `{"user":"$1"}`, `"of b"`}, {1, "profile_of", `{"user":"$0"}`, `"of a"`},
		{1, "put", `{"key":"k","value":"v"}`, ""}, {0, "item_of", `{"user":"$1","key":"k"}`, `"v"`},
		{0, "freeze", `{"value":"doc"}`, `"801d320d2b1cd9b9a74dc42b11fbbc8170b8b41ab6249c19af801297ce48f0f0"`},
		{-1, "frozen", `{"hash":"801d320d2b1cd9b9a74dc42b11fbbc8170b8b41ab6249c19af801297ce48f0f0"}`, `"doc"`},
		{1, "remove_profile", `{}`, `"of b"`}, {0, "has_profile", `{"user":"$1"}`, "false"},
	}},
	"private": {turns: []turn{
		{0, "set_both", `{"shared":"all","secret":"mine"}`, "1"}, {-1, "shared", `{}`, `"all"`}, {1, "secret", `{}`, "null"},
		{1, "set_secret", `{"value":"other"}`, "1"}, {0, "secret", `{}`, `{"value":"mine","writes":1}`},
	}},
	"handlers": {turns: []turn{ // handlers run at the author's, once, and what they write is everywhere
		{0, "fire", `{"value":"a"}`, ""}, {-1, "runs", `{}`, `{"on_fired":1}`},
		{1, "fire_pair", `{"left":"l","right":2}`, ""}, {-1, "runs", `{}`, `{"on_fired":1,"on_pair":1}`},
		{1, "fire_many", `{"n":3,"prefix":"p"}`, ""}, {-1, "runs", `{}`, `{"on_fired":4,"on_pair":1}`},
	}},
	"blobs": {turns: []turn{
		{0, "store", `{"name":"f","text":"content"}`, ""}, {1, "adopt", `{"name":"g","id":"$0","size":7}`, ""},
	}},
	"xcall": {turns: []turn{
		{0, "record", `{"note":"a"}`, ""}, {1, "record", `{"note":"b"}`, ""}, {-1, "hits", `{}`, "2"},
		{1, "call", `{"context":"$c","method":"record","params":{"note":"c"}}`, ""}, {-1, "hits", `{}`, "3"},
	}},
}

// TestSampleApps: the sample apps' calls on either node are on both.
func TestSampleApps(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	for app, s := range stories {
		t.Run(app, func(t *testing.T) {
			play(t, c, c.Mesh(t, app, []byte(s.params)), s)
		})
	}
}

// play makes the calls of a story on the copies of a context.
func play(t *testing.T, c *harness.Cluster, all []*harness.Context, s story) {
	t.Helper()
	fill := strings.NewReplacer("$0", all[0].Member, "$1", all[1].Member, "$c", all[0].ID)
	for _, step := range s.turns {
		for at, x := range all {
			if step.at >= 0 && step.at != at {
				continue
			}
			err := harness.Until(t.Context(), fmt.Sprintf("%s of node %d is %s", step.method, at, step.want),
				func(ctx context.Context) error { return says(ctx, x, step, fill) })
			require.NoError(t, err)
		}
		c.Equal(t, all...)
	}
}

// says makes a call. A reading one may be repeated: what handlers write comes after the answer.
func says(ctx context.Context, x *harness.Context, s turn, fill *strings.Replacer) error {
	out, err := x.Call(ctx, s.method, json.RawMessage(fill.Replace(s.args)))
	if err != nil || s.want == "" {
		return err
	}
	var got, want any
	if err := json.Unmarshal(out, &got); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(s.want), &want); err != nil {
		return err
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%s", out)
	}
	return nil
}

// TestBlobsOfContexts: a blob that one node has comes to another one by its id and the context.
func TestBlobsOfContexts(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	content := strings.Repeat("blob ", 600_000) // three chunks
	raw, err := c.Clients[0].Raw(t.Context(), http.MethodPut, "/admin-api/blobs?context_id="+all[0].ID, "", strings.NewReader(content))
	require.NoError(t, err)
	var put struct {
		Data struct {
			ID string `json:"blob_id"`
		}
	}
	require.NoError(t, json.Unmarshal(raw, &put))
	path := "/admin-api/blobs/" + put.Data.ID
	var status *harness.StatusError
	_, err = c.Clients[1].Raw(t.Context(), http.MethodGet, path, "", nil)
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusNotFound, status.Status)
	got, err := c.Clients[1].Raw(t.Context(), http.MethodGet, path+"?context_id="+all[0].ID, "", nil)
	require.NoError(t, err)
	require.Equal(t, content, string(got))
}
