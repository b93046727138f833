package inspect_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/core/contexts/inspect"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	"github.com/calimero-go/core/tests/apps"
)

// rig runs an application and keeps its rows, as the state engine makes them.
type rig struct {
	t      testing.TB
	core   *runtimetest.Core
	module domain.Hash
	rows   engine.Rows
	root   domain.Hash
}

// shared is one runtime for all tests: compiling takes most of their time.
var shared runtime.Plugin

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "inspect")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	shared = wasmer.New()
	if err := configure(shared, dir); err != nil {
		panic(err)
	}
	defer func() {
		if err := shared.Close(context.Background()); err != nil {
			panic(err)
		}
	}()
	return m.Run()
}

func configure(p runtime.Plugin, dir string) error {
	schema, err := p.Schema(context.Background())
	if err != nil {
		return err
	}
	values := map[string]cty.Value{}
	for _, a := range schema.Attributes {
		values[a.Name] = a.Default
	}
	_, err = p.Configure(context.Background(), base.Config{Value: cty.ObjectVal(values), DataDir: dir, Node: "test"})
	return err
}

func newRig(t testing.TB, wasm []byte) *rig {
	t.Helper()
	r := &rig{t: t, core: runtimetest.NewCore(t, shared), module: sha256.Sum256(wasm), rows: engine.Rows{}}
	runtimetest.Prepare(t, shared, wasm)
	r.call("init", nil)
	return r
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	wasm, err := apps.Wasm(name)
	require.NoError(t, err)
	return wasm
}

// call runs a method as its author's node does and returns the value.
func (r *rig) call(method string, args any) json.RawMessage {
	r.t.Helper()
	input, ok := args.([]byte)
	if !ok && args != nil {
		var err error
		input, err = json.Marshal(args)
		require.NoError(r.t, err)
	}
	e, res := r.core.Call(r.module, method, input)
	require.Nil(r.t, res.Fault)
	if res.RootHash == nil {
		return res.Value
	}
	delta, err := crdt.DecodeArtifact(res.Artifact)
	require.NoError(r.t, err)
	var writes []engine.Row
	for _, w := range res.Writes {
		if w.Scope == runtime.ScopeState {
			writes = append(writes, engine.Row{Key: w.K, Absent: w.Absent, Value: w.Value})
		}
	}
	authored, err := engine.Author(r.rows, engine.Call{
		Context: r.core.Context, Executor: e.Executor, Actions: delta.Actions, Writes: writes,
	})
	require.NoError(r.t, err)
	r.rows.Put(authored.Rows())
	r.root = authored.Change.Root
	var corrected []runtime.Row
	for _, c := range authored.Corrected {
		corrected = append(corrected, runtime.Row{Key: runtime.Key{Scope: runtime.ScopeState, K: c.Key}, Absent: c.Absent, Value: c.Value})
	}
	r.core.Accept(e, res, corrected...)
	return res.Value
}

// state stores the rows and loads them.
func (r *rig) state() *inspect.State {
	r.t.Helper()
	db := store.Open(storagetest.NewMemory(), store.Options{})
	b := db.Batch()
	for key, value := range r.rows {
		b.PutRow(r.core.Context, runtime.Key{Scope: runtime.ScopeState, K: key}, value)
	}
	b.PutRow(r.core.Context, runtime.Key{Scope: runtime.ScopePrivate, K: [32]byte{1}}, []byte("secret"))
	store.ContextMeta.Put(b, r.core.Context, wire.ContextMeta{
		ApplicationID: domain.ApplicationID{7}, RootHash: r.root, DagHeads: []domain.Hash{{1}},
	})
	require.NoError(r.t, b.Commit(context.Background()))
	s, err := inspect.Load(context.Background(), db, r.core.Context)
	require.NoError(r.t, err)
	return s
}

func printed(t testing.TB, s *inspect.State) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, s.Tree().Print(&out, inspect.PrintOptions{Tombstones: true}))
	return out.String()
}

// find returns the entity with a name.
func find(t testing.TB, s *inspect.State, name string) *inspect.Entity {
	t.Helper()
	var all []string
	var walk func(list []*inspect.Entity) *inspect.Entity
	walk = func(list []*inspect.Entity) *inspect.Entity {
		for _, e := range list {
			if all = append(all, e.Name); e.Name == name {
				return e
			}
			if found := walk(e.Children); found != nil {
				return found
			}
		}
		return nil
	}
	e := walk([]*inspect.Entity{s.Tree().Root})
	require.NotNil(t, e, "%s is not among %q", name, all)
	return e
}

func filledKV(t testing.TB) *rig {
	r := newRig(t, sample(t, "kv"))
	for _, k := range []string{"a", "b", "c"} {
		r.call("set", map[string]string{"key": k, "value": "value of " + k})
	}
	r.call("remove", map[string]string{"key": "b"})
	return r
}

func TestTree_KV(t *testing.T) {
	t.Parallel()
	s := filledKV(t).state()
	e := find(t, s, `entries["a"]`)
	require.Equal(t, "value of a", e.Value.(inspect.Register).Value)
	require.Equal(t, "LwwRegister<String>", e.Type)
	require.NotZero(t, e.OwnHash)
	require.NotZero(t, e.FullHash)
	tree := s.Tree()
	require.Len(t, tree.Tombstones, 1)
	require.NotNil(t, tree.Tombstones[0].Deleted)
	require.Equal(t, crdt.EntryID(crdt.CollectionID("entries"), []byte("b")), tree.Tombstones[0].ID)
	require.Empty(t, tree.Detached)
	require.Empty(t, tree.Raw)
	require.Equal(t, s.Root, tree.Root.FullHash)
	text := printed(t, s)
	require.Contains(t, text, `    entries["a"] LwwRegister<String> = "value of a"`)
	require.NotContains(t, text, "secret", "private rows")
	_, err := json.Marshal(tree)
	require.NoError(t, err)
}

func TestTree_Collections(t *testing.T) {
	t.Parallel()
	r := newRig(t, sample(t, "collections"))
	r.call("change_all", map[string]string{"word": "one"})
	r.call("change_all", map[string]string{"word": "two"})
	r.call("change_stock", map[string]int{"by": -3})
	r.call("insert_text", map[string]any{"position": 0, "text": "<é>"})
	r.call("delete_text", map[string]any{"start": 1, "end": 2})
	s := r.state()
	require.Empty(t, s.Verify().Findings)
	executor := domain.PublicKey{7}.String()
	for name, want := range map[string]string{
		fmt.Sprintf("visits[%q]", executor):       `2`,
		fmt.Sprintf("stock[%q]", executor):        `2`,
		fmt.Sprintf("stock (down)[%q]", executor): `3`,
		"lines[0]":    `"one"`,
		"lines[1]":    `"two"`,
		`tags{"one"}`: `"one"`,
	} {
		value := find(t, s, name).Value
		if register, ok := value.(inspect.Register); ok {
			value = register.Value
		}
		have, err := json.Marshal(value)
		require.NoError(t, err)
		var a, b any
		require.NoError(t, json.Unmarshal(have, &a))
		require.NoError(t, json.Unmarshal([]byte(want), &b))
		require.Equal(t, b, a, name)
	}
	text := printed(t, s)
	require.Contains(t, text, `table["one"]["c"]`, "a map in a map is named by the entry that holds it")
	require.Contains(t, text, fmt.Sprintf(`scores["one"][%q] u64 = 1`, executor))
	require.Contains(t, text, "state = \"0x", "nobody tells the type of the state")
	require.Equal(t, strings.Trim(string(r.call("text", nil)), `"`), find(t, s, "text").Value)

	schema, err := os.ReadFile("testdata/collections.schema.json")
	require.NoError(t, err)
	s.Schema, err = inspect.ParseSchema(schema)
	require.NoError(t, err)
	state := find(t, s, "state").Value.(inspect.Record)
	require.Len(t, state, 8)
	require.Equal(t, "title", state[2].Name)
	require.Equal(t, "two", state[2].Value.(inspect.Register).Value)
	require.Len(t, state[1].Value.(inspect.Ref).More, 1, "the counter that goes down has two halves")
}

func TestTree_Owned(t *testing.T) {
	t.Parallel()
	r := newRig(t, sample(t, "owned"))
	r.call("set_profile", map[string]string{"value": "me"})
	r.call("freeze", map[string]string{"value": "doc"})
	r.call("put", map[string]string{"key": "k", "value": "v"})
	s := r.state()
	require.Empty(t, s.Verify().Findings)
	text := printed(t, s)
	require.Contains(t, text, `= "me" (user)`)
	require.Contains(t, text, `= "doc" (frozen)`)
	require.Contains(t, text, fmt.Sprintf(`drawers[%q] = "0x`, domain.PublicKey{7}), "the key tells, the value's type does not")
}

func TestTree_JavaScript(t *testing.T) {
	t.Parallel()
	wasm, _ := runtimetest.ScriptModule()
	r := newRig(t, wasm)
	do := runtimetest.Do
	slot := func(i int) runtimetest.Slot { return runtimetest.Slot(i) }
	r.call("run", runtimetest.EncodeScript(t,
		do("js_crdt_map_new", 0).To(0), do("js_crdt_map_insert", slot(0), "k", "v", 0),
		do("js_crdt_counter_new", 0).To(1), do("js_crdt_counter_increment", slot(1)),
		do("js_crdt_lww_new", 0).To(2), do("js_crdt_lww_set", slot(2), "latest", 1),
		do("js_crdt_set_new", 0).To(3), do("js_crdt_set_insert", slot(3), "member"),
		do("persist_root_state", `{"count":1}`, 0, 0), do("flush_delta")))
	s := r.state()
	require.Empty(t, s.Verify().Findings)
	text := printed(t, s)
	for _, want := range []string{
		`root document = "{\"count\":1}"`, `["k"] bytes = "v"`, fmt.Sprintf(`[%q] u64 = 1`, domain.PublicKey{7}), `= "latest"`, `{"member"}`,
	} {
		require.Contains(t, text, want)
	}
}

// TestVerify_NamesEachAlteredRow alters every row in every part: something is found, and it names the entity of the row.
func TestVerify_NamesEachAlteredRow(t *testing.T) {
	t.Parallel()
	r := filledKV(t)
	clean := r.state()
	report := clean.Verify()
	require.Empty(t, report.Findings)
	require.Equal(t, clean.Root, report.Computed)
	a := crdt.EntryID(crdt.CollectionID("entries"), []byte("a"))
	for key, value := range clean.Rows {
		// The metadata in the tail of an index row is not hashed, nor is anything of a tombstone's row.
		var x crdt.EntityIndex
		isIndex := len(value) > 32 && crdt.IndexKey(crdt.ID(value[:32])) == key
		if isIndex {
			require.NoError(t, borsh.Unmarshal(value, &x))
		}
		altered := bytes.Clone(value)
		switch {
		case isIndex && x.DeletedAt != nil:
			continue
		case isIndex:
			x.OwnHash[5] ^= 1
			var err error
			altered, err = borsh.Marshal(x)
			require.NoError(t, err)
		default:
			altered[0] ^= 1
		}
		s := r.state()
		s.Rows[key] = altered
		findings := s.Verify().Findings
		require.NotEmpty(t, findings)
		id := x.ID
		if !isIndex {
			id = crdt.ID(value[len(value)-32:])
		}
		require.True(t, slices.ContainsFunc(findings, func(f inspect.Finding) bool { return f.ID == id }), "%s: %v", id, findings)
	}

	s := r.state()
	s.Rows[crdt.EntryKey(a)][9] ^= 1
	findings := s.Verify().Findings
	require.Len(t, findings, 2, "the altered entity and the root")
	require.Equal(t, a, findings[0].ID)
	require.Contains(t, findings[0].What, "own hash")
	require.Contains(t, findings[1].What, "root hash")
	var out bytes.Buffer
	require.NoError(t, s.Verify().Print(&out))
	require.Contains(t, out.String(), a.String()+` (entries["a"]): own hash `)

	for name, alter := range map[string]func(s *inspect.State){
		"has no index row":      func(s *inspect.State) { delete(s.Rows, crdt.IndexKey(a)) },
		"it has no bytes":       func(s *inspect.State) { delete(s.Rows, crdt.EntryKey(a)) },
		"cannot be read":        func(s *inspect.State) { s.Rows[crdt.IndexKey(a)] = s.Rows[crdt.IndexKey(a)][:90] },
		"the context has root":  func(s *inspect.State) { s.Root[0] ^= 1 },
		"not in the order":      func(s *inspect.State) { relist(t, s, slices.Reverse) },
		"does not list it":      func(s *inspect.State) { relist(t, s, func(c []crdt.ChildInfo) { c[0] = c[1] }) },
		"hash 1111111111111111": func(s *inspect.State) { relist(t, s, func(c []crdt.ChildInfo) { c[0].MerkleHash = domain.Hash{} }) },
		"names another parent": func(s *inspect.State) {
			reindex(t, s, a, func(x *crdt.EntityIndex) { x.ParentID = &crdt.StateEntryID })
		},
		"it belongs to user": func(s *inspect.State) {
			reindex(t, s, a, func(x *crdt.EntityIndex) { x.Metadata.Storage.Kind = crdt.User })
		},
		"it is frozen": func(s *inspect.State) {
			reindex(t, s, a, func(x *crdt.EntityIndex) { x.Metadata.Storage.Kind = crdt.Frozen })
		},
		"shadow row cannot": func(s *inspect.State) { s.Rows[crdt.SyncStateKey(a)] = []byte{9} },
		"is deleted and has": func(s *inspect.State) {
			reindex(t, s, a, func(x *crdt.EntityIndex) { d := ^uint64(0); x.DeletedAt = &d })
		},
		"own hash and list of":   func(s *inspect.State) { reindex(t, s, a, func(x *crdt.EntityIndex) { x.FullHash[0] ^= 1 }) },
		"has bytes and no index": func(s *inspect.State) { delete(s.Rows, crdt.IndexKey(a)) },
	} {
		s := r.state()
		alter(s)
		var out bytes.Buffer
		require.NoError(t, s.Verify().Print(&out))
		require.Contains(t, out.String(), name)
	}
}

func reindex(t testing.TB, s *inspect.State, id crdt.ID, change func(x *crdt.EntityIndex)) {
	t.Helper()
	var x crdt.EntityIndex
	require.NoError(t, borsh.Unmarshal(s.Rows[crdt.IndexKey(id)], &x))
	change(&x)
	row, err := borsh.Marshal(x)
	require.NoError(t, err)
	s.Rows[crdt.IndexKey(id)] = row
}

func relist(t testing.TB, s *inspect.State, change func([]crdt.ChildInfo)) {
	t.Helper()
	reindex(t, s, crdt.CollectionID("entries"), func(x *crdt.EntityIndex) { change(x.Children) })
}

func TestCompare(t *testing.T) {
	t.Parallel()
	a, b := filledKV(t), filledKV(t)
	require.NotEqual(t, a.core.Context, b.core.Context)
	b.call("set", map[string]string{"key": "a", "value": "other"})
	b.call("set", map[string]string{"key": "d", "value": "new"})
	b.call("remove", map[string]string{"key": "c"})
	a.call("set", map[string]string{"key": "same", "value": "x"})
	b.call("set", map[string]string{"key": "same", "value": "x"})
	d := inspect.Compare(a.state(), b.state())
	require.False(t, d.Equal())
	var out bytes.Buffer
	require.NoError(t, d.Print(&out, false))
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, []string{
		`~ entries["a"]: "value of a" | "other"`,
		`- entries["c"] = "value of c"`,
		`+ entries["d"] = "new"`,
	}, lines[:3])
	require.Regexp(t, `^~ entries\["same"\]: \{"value":"x","time":"20.*"\} \| \{"value":"x","time":"20.*"\}$`, lines[3])
	require.Contains(t, lines[4], "different")

	same := inspect.Compare(a.state(), a.state())
	require.Empty(t, same.Differences)
	require.True(t, same.Equal())

	s := a.state()
	id := crdt.EntryID(crdt.CollectionID("entries"), []byte("a"))
	reindex(t, s, id, func(x *crdt.EntityIndex) { x.Metadata.UpdatedAt++ })
	s.Rows[crdt.StateKey{1}] = []byte("raw")
	d = inspect.Compare(a.state(), s)
	require.True(t, d.Equal())
	require.Len(t, d.Differences, 2)
	require.Equal(t, []string{inspect.Raw, inspect.Metadata}, []string{d.Differences[0].Kind, d.Differences[1].Kind})

	// A second record of one key: equal values, another hash.
	s = a.state()
	relist(t, s, func(c []crdt.ChildInfo) {})
	reindex(t, s, crdt.CollectionID("entries"), func(x *crdt.EntityIndex) {
		x.Children = append(x.Children, x.Children[0])
		x.FullHash[0] ^= 1
	})
	d = inspect.Compare(a.state(), s)
	require.Len(t, d.Differences, 1)
	require.Equal(t, inspect.Hash, d.Differences[0].Kind)
	require.Equal(t, "entries", d.Differences[0].Name)
}

func TestExport(t *testing.T) {
	t.Parallel()
	s := filledKV(t).state()
	schema, err := os.ReadFile("testdata/collections.schema.json")
	require.NoError(t, err)
	s.Schema, err = inspect.ParseSchema(schema)
	require.NoError(t, err)
	var file bytes.Buffer
	require.NoError(t, s.Export(&file))
	back, err := inspect.ReadExport(bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	require.Empty(t, inspect.Compare(s, back).Differences)
	require.Equal(t, s.Rows, back.Rows)
	require.Equal(t, s.Context, back.Context)
	require.Equal(t, s.Application, back.Application)
	require.Equal(t, s.Heads, back.Heads)
	require.Equal(t, printed(t, s), printed(t, back))
	var again bytes.Buffer
	require.NoError(t, back.Export(&again))
	require.JSONEq(t, strings.Split(file.String(), "\n")[0], strings.Split(again.String(), "\n")[0])
	require.NotContains(t, file.String(), "secret")

	lines := strings.SplitAfter(file.String(), "\n")
	for name, test := range map[string]struct {
		file string
		kind errkind.Kind
	}{
		"empty":           {"", errkind.Corrupt},
		"another file":    {"{}\n", errkind.Invalid},
		"another version": {strings.Replace(file.String(), `"version":1`, `"version":2`, 1), errkind.Unsupported},
		"cut":             {strings.Join(lines[:len(lines)-2], ""), errkind.Corrupt},
		"a row less":      {strings.Join(slices.Delete(slices.Clone(lines), 2, 3), ""), errkind.Corrupt},
		"a row twice":     {strings.Join(slices.Insert(slices.Clone(lines), 2, lines[2]), ""), errkind.Corrupt},
		"altered":         {strings.Replace(file.String(), `"value":"`, `"value":"AAAA`, 1), errkind.Corrupt},
		"something after": {file.String() + lines[1], errkind.Corrupt},
		"not base64":      {strings.Replace(file.String(), `"value":"`, `"value":"!`, 1), errkind.Corrupt},
	} {
		_, err := inspect.ReadExport(strings.NewReader(test.file))
		require.ErrorIs(t, err, test.kind, name)
	}
}

func TestLoad_UnknownContext(t *testing.T) {
	t.Parallel()
	_, err := inspect.Load(t.Context(), store.Open(storagetest.NewMemory(), store.Options{}), domain.ContextID{1})
	require.ErrorIs(t, err, errkind.NotFound)
}

// FuzzTree shows, checks and compares states of arbitrary rows.
func FuzzTree(f *testing.F) {
	f.Add([]byte("seed"), []byte{1, 2, 3}, false)
	f.Add(bytes.Repeat([]byte{0x11}, 200), bytes.Repeat([]byte{0xff}, 64), true)
	f.Fuzz(func(t *testing.T, index, data []byte, js bool) {
		s := &inspect.State{Context: domain.ContextID{9}, Rows: map[crdt.StateKey][]byte{}}
		root := crdt.TreeRoot(s.Context)
		put := func(id crdt.ID, parent *crdt.ID, children ...crdt.ID) {
			x := crdt.EntityIndex{ID: id, ParentID: parent, Metadata: crdt.Metadata{Crdt: &crdt.CrdtType{Kind: crdt.UnorderedMap, Inner: string(index), Value: string(data)}}}
			for _, c := range children {
				x.Children = append(x.Children, crdt.ChildInfo{ID: c})
			}
			row, err := borsh.Marshal(x)
			if err != nil {
				t.Skip() // names that are not UTF-8
			}
			s.Rows[crdt.IndexKey(id)] = row
		}
		a, b := crdt.ID{1}, crdt.ID{2}
		put(root, nil, a, crdt.StateEntryID)
		put(a, &root, b, a)
		put(b, &a, root)
		s.Rows[crdt.EntryKey(a)] = a[:]
		s.Rows[crdt.EntryKey(b)] = append(bytes.Clone(data), b[:]...)
		s.Rows[crdt.EntryKey(root)] = root[:]
		if js {
			s.Rows[crdt.EntryKey(root)] = data
		}
		if len(index) >= 32 {
			s.Rows[crdt.IndexKey(crdt.ID(index[:32]))] = index
			s.Rows[crdt.SyncStateKey(b)] = index
		}
		var out bytes.Buffer
		require.NoError(t, s.Tree().Print(&out, inspect.PrintOptions{Hashes: true, Times: true, Tombstones: true}))
		require.NoError(t, s.Verify().Print(&out))
		require.NoError(t, inspect.Compare(s, &inspect.State{}).Print(&out, true))
		_, err := json.Marshal(s.Tree())
		require.NoError(t, err)
	})
}

// FuzzReadExport reads arbitrary files.
func FuzzReadExport(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"format":"calimero-state","version":1}` + "\n" + `{"rows":0,"sha256":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := inspect.ReadExport(bytes.NewReader(in))
		if err == nil {
			require.NoError(t, s.Export(&bytes.Buffer{}))
		}
	})
}

// FuzzSchema reads arbitrary schemas and decodes arbitrary states with them.
func FuzzSchema(f *testing.F) {
	schema, err := os.ReadFile("testdata/collections.schema.json")
	require.NoError(f, err)
	f.Add(schema, []byte{1, 2, 3})
	f.Add([]byte(`{"schema_version":"wasm-abi/1","types":{"S":{"kind":"alias","target":{"$ref":"S"}}},"state_root":"S"}`), []byte{})
	f.Add([]byte(`{"schema_version":"wasm-abi/1","types":{"S":{"kind":"record","fields":[{"name":"a","type":{"kind":"list","items":{"$ref":"S"}}}]}},"state_root":"S"}`), []byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in, value []byte) {
		schema, err := inspect.ParseSchema(in)
		if err != nil {
			return
		}
		root := crdt.TreeRoot(domain.ContextID{9})
		row := func(x crdt.EntityIndex) []byte {
			enc, err := borsh.Marshal(x)
			require.NoError(t, err)
			return enc
		}
		s := &inspect.State{Context: domain.ContextID{9}, Schema: schema, Rows: map[crdt.StateKey][]byte{
			crdt.IndexKey(root):              row(crdt.EntityIndex{ID: root, Children: []crdt.ChildInfo{{ID: crdt.StateEntryID}}}),
			crdt.IndexKey(crdt.StateEntryID): row(crdt.EntityIndex{ID: crdt.StateEntryID, ParentID: &root}),
			crdt.EntryKey(crdt.StateEntryID): append(bytes.Clone(value), crdt.StateEntryID[:]...),
		}}
		_, err = json.Marshal(s.Tree())
		require.NoError(t, err)
	})
}
