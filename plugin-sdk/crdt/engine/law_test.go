package engine_test

import (
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestMain sets the number of cases of each law: 400, or 100,000 with SCALE=full, unless -rapid.checks is given.
func TestMain(m *testing.M) {
	flag.Parse()
	checks := "400"
	if os.Getenv("SCALE") == "full" {
		checks = "100000"
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// world is a small universe in which actions collide often.
type world struct {
	context domain.ContextID
	keys    []domain.PrivateKey
	ids     []crdt.ID           // everything
	home    map[crdt.ID]crdt.ID // the parent that an application uses
	frozen  map[crdt.ID][]byte  // contents
	signed  sync.Map            // signatures made
}

var theWorld = sync.OnceValue(func() *world {
	w := &world{context: domain.ContextID(fill(0x11)), home: map[crdt.ID]crdt.ID{}, frozen: map[crdt.ID][]byte{}}
	root := crdt.TreeRoot(w.context)
	w.ids = append(w.ids, root, crdt.StateEntryID)
	w.home[crdt.StateEntryID] = root
	for i := byte(1); i <= 3; i++ {
		w.keys = append(w.keys, domain.PrivateKey(fill(i)))
		collection := crdt.ID(fill(0x20 + i))
		w.ids = append(w.ids, collection)
		w.home[collection] = root
		for _, key := range []string{"a", "b"} {
			entry := crdt.EntryID(collection, []byte(key))
			w.ids = append(w.ids, entry)
			w.home[entry] = collection
		}
	}
	users, docs := crdt.ID(fill(0x21)), crdt.ID(fill(0x22))
	for _, key := range w.keys {
		owner := key.Public()
		entry := crdt.EntryID(users, owner[:])
		w.ids = append(w.ids, entry)
		w.home[entry] = users
	}
	for _, content := range []string{"x", "yy"} {
		hash := crdt.FrozenKey([]byte(content))
		entry := crdt.EntryID(docs, hash[:])
		w.ids = append(w.ids, entry)
		w.home[entry] = docs
		w.frozen[entry] = slices.Concat(hash[:], []byte(content), entry[:])
	}
	return w
})

func fill(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func (w *world) root() crdt.ID { return crdt.TreeRoot(w.context) }

func (w *world) options() engine.Options { return engine.Options{Context: w.context} }

// chain is the one that an application gives, or one that contradicts it.
func (w *world) chain(t *rapid.T, id crdt.ID) []crdt.ChildInfo {
	var ids []crdt.ID
	if rapid.IntRange(0, 9).Draw(t, "odd chain") == 0 {
		n := rapid.IntRange(1, 4).Draw(t, "length")
		for range n {
			next := rapid.SampledFrom(w.ids).Draw(t, "ancestor")
			if next != id && next != w.root() && !slices.Contains(ids, next) {
				ids = append(ids, next)
			}
		}
		if len(ids) == 0 || rapid.Bool().Draw(t, "rooted") {
			ids = append(ids, w.root())
		}
	} else {
		for at := id; at != w.root(); {
			at = w.home[at]
			ids = append(ids, at)
		}
	}
	out := make([]crdt.ChildInfo, len(ids))
	for i, id := range ids {
		created := rapid.Uint64Range(1, 3).Draw(t, "ancestor created")
		out[i] = crdt.ChildInfo{ID: id, MerkleHash: domain.Hash(fill(9)), Metadata: crdt.Metadata{CreatedAt: created}}
	}
	return out
}

func (w *world) metadata(t *rapid.T) crdt.Metadata {
	m := crdt.Metadata{
		CreatedAt: rapid.Uint64Range(1, 3).Draw(t, "created"), UpdatedAt: rapid.Uint64Range(1, 12).Draw(t, "updated"),
	}
	switch rapid.IntRange(0, 9).Draw(t, "type") {
	case 0:
		m.Crdt = &crdt.CrdtType{Kind: crdt.UnorderedMap, Inner: "k", Value: "v"}
	case 1:
		name := "items"
		m.FieldName = &name
	}
	return m
}

func (w *world) action(t *rapid.T) crdt.Action {
	a := crdt.Action{ID: rapid.SampledFrom(w.ids).Draw(t, "id"), Metadata: w.metadata(t)}
	key := rapid.SampledFrom(w.keys).Draw(t, "key")
	owner := key.Public()
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0, 1, 2:
		a.Kind, a.DeletedAt = crdt.DeleteRef, rapid.Uint64Range(1, 12).Draw(t, "deleted")
		return a
	case 3: // of any id, theirs or not
		a.Kind, a.DeletedAt = crdt.DeleteRef, rapid.Uint64Range(1, 12).Draw(t, "deleted")
		if rapid.Bool().Draw(t, "own") {
			a.ID = crdt.EntryID(crdt.ID(fill(0x21)), owner[:])
		}
		a.Metadata.Storage = crdt.StorageType{Kind: crdt.User, Owner: owner}
		return w.sign(a, key)
	case 4, 5:
		a.ID = crdt.EntryID(crdt.ID(fill(0x21)), owner[:])
		a.Data = append(slices.Clone(owner[:]), byte(rapid.IntRange(0, 2).Draw(t, "value")))
		a.Metadata.Storage = crdt.StorageType{Kind: crdt.User, Owner: owner}
		a.Ancestors = w.chain(t, a.ID)
		return w.sign(a, key)
	case 6:
		a.ID = rapid.SampledFrom(slices.SortedFunc(maps.Keys(w.frozen), crdt.ID.Compare)).Draw(t, "content")
		a.Data = w.frozen[a.ID]
		a.Metadata.Storage.Kind = crdt.Frozen
	case 7:
		a.Kind = crdt.Compare
		return a
	default:
		a.Data = append([]byte{byte(rapid.IntRange(0, 3).Draw(t, "value"))}, a.ID[:]...)
	}
	a.Kind = rapid.SampledFrom([]crdt.ActionKind{crdt.Add, crdt.Update}).Draw(t, "tag")
	if a.ID != w.root() {
		a.Ancestors = w.chain(t, a.ID)
	}
	return a
}

func (w *world) sign(a crdt.Action, key domain.PrivateKey) crdt.Action {
	a.Metadata.Storage.Signature = &crdt.SignatureData{Nonce: a.Time()}
	payload := a.SigningPayload()
	signature, ok := w.signed.Load([2]any{payload, key})
	if !ok {
		signature = key.Sign(payload[:])
		w.signed.Store([2]any{payload, key}, signature)
	}
	a.Metadata.Storage.Signature.Signature = signature.(domain.Signature)
	return a
}

func (w *world) deltas(t *rapid.T) [][]crdt.Action {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []crdt.Action {
		return rapid.SliceOfN(rapid.Custom(w.action), 1, 4).Draw(t, "actions")
	}), 1, 12).Draw(t, "deltas")
}

func applyRapid(t *rapid.T, rows engine.Rows, actions []crdt.Action, opts engine.Options) engine.Change {
	change, err := engine.Apply(rows, actions, opts)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	for _, r := range change.Rows {
		old, had := rows[r.Key]
		switch {
		case r.Absent && !had, !r.Absent && had && slices.Equal(old, r.Value):
			t.Fatalf("row %x does not change", r.Key)
		case len(r.Edits) > 0 && !slices.Equal(r.Value, engine.Edited(old, r.Edits)):
			t.Fatalf("edits of row %x do not lead to its value", r.Key)
		}
	}
	rows.Put(change.Rows)
	return change
}

// TestStateIsAFunctionOfTheDeltas: for any deltas — contradicting, forged, with cycles of parents — in any order, with
// duplicates, the rows are those that the model computes from the set. So joining commutes, associates, and repeats
// without effect.
func TestStateIsAFunctionOfTheDeltas(t *testing.T) {
	t.Parallel()
	w := theWorld()
	rapid.Check(t, func(t *rapid.T) {
		deltas := w.deltas(t)
		order := rapid.Permutation(indices(len(deltas))).Draw(t, "order")
		order = append(order, rapid.SliceOfN(rapid.IntRange(0, len(deltas)-1), 0, 4).Draw(t, "again")...)
		again := rapid.Permutation(order).Draw(t, "interleaved")
		want := runModel(t, w.context, deltas)
		rows := engine.Rows{}
		var root domain.Hash
		for _, i := range again {
			root = applyRapid(t, rows, deltas[i], w.options()).Root
		}
		compareRapid(t, want, rows)
		for i := range deltas {
			change := applyRapid(t, rows, deltas[i], w.options())
			if len(change.Rows) > 0 || change.Root != root {
				t.Fatalf("delta %d has an effect when applied again", i)
			}
		}
		stored := domain.Hash{}
		if row := rows[crdt.IndexKey(w.root())]; row != nil {
			var err error
			if stored, err = crdt.ReadFullHash(row); err != nil {
				t.Fatal(err)
			}
		}
		if root != stored {
			t.Fatalf("root %s, stored %s", root, stored)
		}
	})
}

// TestGrouping: what one delta carries may as well come in two, or action by action, as long as no two of its actions
// claim the same moment of one entity.
func TestGrouping(t *testing.T) {
	t.Parallel()
	w := theWorld()
	rapid.Check(t, func(t *rapid.T) {
		deltas := w.deltas(t)
		all := slices.Concat(deltas...)
		together := engine.Rows{}
		for _, v := range applyRapid(t, together, all, w.options()).Verdicts {
			if v.Outcome == engine.Superseded {
				t.Skip("same moment twice")
			}
		}
		apart := engine.Rows{}
		for _, i := range rapid.Permutation(indices(len(all))).Draw(t, "order") {
			applyRapid(t, apart, all[i:i+1], w.options())
		}
		compareRapid(t, together, apart)
	})
}

// TestApplyAll: several deltas at once are the same as one after the other.
func TestApplyAll(t *testing.T) {
	t.Parallel()
	w := theWorld()
	rapid.Check(t, func(t *rapid.T) {
		one, all := engine.Rows{}, engine.Rows{}
		for _, d := range w.deltas(t) {
			applyRapid(t, one, d, w.options())
		}
		maps.Copy(all, one)
		deltas := w.deltas(t)
		for _, d := range deltas {
			applyRapid(t, one, d, w.options())
		}
		change, err := engine.ApplyAll(all, deltas, w.options())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range change.Rows {
			if len(r.Edits) > 0 && !slices.Equal(r.Value, engine.Edited(all[r.Key], r.Edits)) {
				t.Fatalf("edits of row %x do not lead to its value", r.Key)
			}
		}
		all.Put(change.Rows)
		compareRapid(t, one, all)
		if n := len(slices.Concat(deltas...)); n != len(change.Verdicts) {
			t.Fatalf("%d verdicts on %d actions", len(change.Verdicts), n)
		}
	})
}

// TestAuthorAndReceiversAgree: whatever a guest leaves, its author commits what receivers of the delta compute, the
// guest's copy is corrected to it, and writes under the guest's own keys stay.
func TestAuthorAndReceiversAgree(t *testing.T) {
	t.Parallel()
	w := theWorld()
	rapid.Check(t, func(t *rapid.T) {
		author := engine.Rows{}
		for _, d := range w.deltas(t) {
			applyRapid(t, author, d, w.options())
		}
		receiver, guest := maps.Clone(author), maps.Clone(author)
		key := w.keys[0]
		call := engine.Call{Context: w.context, Executor: key.Public()}
		call.Actions = rapid.SliceOfN(rapid.Custom(w.action), 1, 6).Draw(t, "actions")
		written, err := engine.Apply(author, call.Actions, engine.Options{Context: w.context, Signer: &call.Executor})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range written.Rows { // some of the rows that the actions imply
			if rapid.IntRange(0, 3).Draw(t, "written") > 0 {
				call.Writes = append(call.Writes, engine.Row{Key: r.Key, Absent: r.Absent, Value: r.Value})
			}
		}
		own := crdt.StateKey{1, 2, 3}
		call.Writes = append(call.Writes, engine.Row{Key: own, Value: []byte("mine")})
		guest.Put(call.Writes)
		for i := range call.Writes {
			w := &call.Writes[i]
			if d, ok := engine.DigestOf(w.Key, w.Value); ok && rapid.Bool().Draw(t, "digest") {
				w.Value, w.Digest = nil, &d
			}
		}
		before := maps.Clone(author)
		out, err := engine.Author(author, call)
		if err != nil {
			t.Fatal(err)
		}
		compareRapid(t, before, author) // a view is only read
		author.Put(out.Rows())
		for _, r := range out.Corrected {
			if len(r.Edits) > 0 && !slices.Equal(r.Value, engine.Edited(before[r.Key], r.Edits)) {
				t.Fatalf("edits of row %x do not lead to its value", r.Key)
			}
		}
		guest.Put(out.Corrected)
		compareRapid(t, author, guest)
		if string(author[own]) != "mine" {
			t.Fatal("the guest's own row is lost")
		}
		delete(author, own)
		crdt.SignUserActions(out.Actions, key.Signer())
		if err := engine.VerifyMark(out.Actions, call.Executor); err != nil && !errors.Is(err, engine.ErrUnmarked) {
			t.Fatal(err)
		}
		change := applyRapid(t, receiver, out.Actions, w.options())
		compareRapid(t, author, receiver)
		if change.Root != out.Change.Root {
			t.Fatalf("root %s, author's %s", change.Root, out.Change.Root)
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func compareRapid(t *rapid.T, want, got engine.Rows) {
	t.Helper()
	if diff := diffRows(want, got); diff != "" {
		t.Fatalf("rows differ\n%s", diff)
	}
}
