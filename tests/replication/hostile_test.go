package replication_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/tests/harness"
)

func isTCP(address string) bool { return strings.Contains(address, "/tcp/") }

// count names series of a metric that must rise.
type count struct {
	family string
	labels []string
}

func dropped(reason string) count {
	return count{"calimero_sync_dropped_total", []string{"reason", reason}}
}

func outcome(way, what string) count {
	return count{"calimero_sync_deltas_total", []string{"way", way, "outcome", what}}
}

func run(outcome errkind.Kind) count {
	return count{"calimero_sync_runs_total", []string{"outcome", outcome.Error()}}
}

func refusal(protocol string, kind errkind.Kind) count {
	return count{"calimero_sync_refused_total", []string{"protocol", protocol, "kind", kind.Error()}}
}

func message(verdict string) count {
	return count{"calimero_network_messages_total", []string{"verdict", verdict}}
}

func group(reason string) count {
	return count{"calimero_membership_dropped_total", []string{"reason", reason}}
}

// scene is two honest nodes, and what the third one knew before it went over.
type scene struct {
	c      *harness.Cluster
	honest []*harness.Context
	v      *traitor
	writes int
}

// growth is what a node's core may grow by during an attack, in MiB: what of one member may wait (16 MiB) as rows, decoded and
// cached, and as much again until it is collected.
const growth = 160

// attack runs an attack by a new peer. Meanwhile each of the metrics must rise on each node, by at least one or by what rise
// says; afterwards the nodes have the state of before, serve, have not grown, and still come together.
func (s *scene) attack(t *testing.T, name string, run func(t *testing.T, e *evil), want ...count) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		infos, before, rss := s.look(t)
		run(t, newEvil(t, s.v, s.nodes(), strings.HasPrefix(name, "plain")))
		for i, client := range s.clients() {
			for _, w := range want {
				require.NoError(t, harness.Until(t.Context(), fmt.Sprint(w.family, w.labels, " rises on node ", i), func(ctx context.Context) error {
					now, err := client.Metrics(ctx)
					if err != nil {
						return err
					}
					if from, to := value(before[i], w), value(now, w); to <= from {
						return fmt.Errorf("from %v to %v; dropped: %s", from, to, s.outcomes(now))
					}
					return nil
				}))
			}
		}
		after, _, rssAfter := s.look(t)
		require.Equal(t, infos, after, "the state is another one")
		for i := range rss {
			require.Lessf(t, int64(rssAfter[i])-int64(rss[i]), int64(growth<<20), "node %d grew", i) //nolint:gosec // small
		}
		s.together(t)
	})
}

func (s *scene) nodes() []*harness.Node     { return s.c.Nodes[:len(s.honest)] }
func (s *scene) clients() []*harness.Client { return s.c.Clients[:len(s.honest)] }

// value is a metric's, zero as long as nothing of it was counted.
func value(m harness.Metrics, c count) float64 {
	v, err := m.Sum(c.family, c.labels...)
	if err != nil {
		return 0
	}
	return v
}

// outcomes shows what became of what came in.
func (s *scene) outcomes(m harness.Metrics) string {
	var out strings.Builder
	for _, family := range []string{"calimero_sync_dropped_total", "calimero_sync_deltas_total", "calimero_sync_runs_total", "calimero_sync_refused_total",
		"calimero_membership_dropped_total", "calimero_network_messages_total"} {
		if f := m[family]; f != nil {
			for _, x := range f.Metric {
				fmt.Fprintf(&out, "%s %v; ", family, x)
			}
		}
	}
	return out.String()
}

// look is what the nodes have, their metrics, and the memory of their cores.
func (s *scene) look(t *testing.T) (infos []harness.ContextInfo, metrics []harness.Metrics, rss []uint64) {
	t.Helper()
	for i, x := range s.honest {
		info, err := x.Info(t.Context())
		require.NoError(t, err)
		infos = append(infos, info)
		m, err := s.c.Clients[i].Metrics(t.Context())
		require.NoError(t, err)
		metrics = append(metrics, m)
		processes, err := harness.Below(s.c.Nodes[i].Home)
		require.NoError(t, err)
		for _, p := range processes {
			if p.PID == s.c.Nodes[i].PID() {
				rss = append(rss, p.RSS)
			}
		}
	}
	require.Len(t, rss, len(s.honest))
	return infos, metrics, rss
}

// together writes on all nodes and waits until all have it.
func (s *scene) together(t *testing.T) {
	t.Helper()
	want := map[string]string{}
	for i, x := range s.honest {
		s.writes++
		key := fmt.Sprintf("honest %d of %d", s.writes, i)
		set(t, x, key, "is here")
		want[key] = "is here"
	}
	s.c.Equal(t, s.honest...)
	holds(t, s.honest, want)
}

// member is the honest node's, with its sender key, as all members know it.
func (s *scene) member(t *testing.T, i int) (domain.PublicKey, domain.PrivateKey) {
	t.Helper()
	id, err := domain.ParsePublicKey(s.honest[i].Member)
	require.NoError(t, err)
	sender, known := s.v.known[id]
	require.True(t, known, "the traitor does not know the sender key of node %d", i)
	return id, sender
}

// TestHostilePeer: a peer on the real protocols, with the keys of a member, attacks real nodes. Nothing changes their state, takes
// them down, or fills their memory, and their metrics name what was refused.
func TestHostilePeer(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 3, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	for i, x := range all { // so that all know all sender keys
		set(t, x, fmt.Sprint("first of ", i), "x")
	}
	c.Equal(t, all...)
	_, err := c.Nodes[2].Stop(t.Context())
	require.NoError(t, err)
	s := &scene{v: betray(t, c.Nodes[2], all[2])}
	s.c, s.honest = c, all[:2]
	s.together(t)
	finish := slowStreams(t, s)

	s.authors(t)
	s.artifacts(t)
	s.topics(t)
	s.replays(t)
	s.sizes(t)
	s.signatures(t)
	s.parents(t)
	s.removed(t)
	t.Run("slow streams", finish)
	s.replaysAnew(t)
	for i, n := range s.nodes() {
		require.True(t, n.Running(), "node %d", i)
		require.NotContains(t, n.Log(), "panic", "node %d", i)
		require.Less(t, strings.Count(n.Log(), " is refused"), 20, "node %d: what others do fills its log", i)
	}
}

// authors: deltas in the name of who has not made them.
func (s *scene) authors(t *testing.T) {
	stranger := domain.PrivateKey{0x5a}
	s.attack(t, "a stranger's delta", func(t *testing.T, e *evil) {
		e.say(e.signed(t, e.delta(t, "of a stranger"), stranger, e.sender))
	}, dropped("author"))
	s.attack(t, "another member's name", func(t *testing.T, e *evil) {
		for i := range s.honest {
			id, sender := s.member(t, i)
			d := e.delta(t, "in another's name")
			m := e.signed(t, d, e.key, sender)
			m.Author = id
			e.say(m)
			e.say(wire.DeltaAnnounce{DeltaStatement: wire.DeltaStatement{Context: e.id, Author: id}})
		}
	}, dropped("signature"))
	s.attack(t, "a stranger's delta, to who catches up", func(t *testing.T, e *evil) {
		d := e.delta(t, "of a stranger, fetched")
		e.offer(d.DeltaID, history([]wire.ContextDagDelta{d}, e.record(t, d, e.proof(d, stranger))))
	}, outcome("sync", "author"))
	s.attack(t, "another member's name, to who catches up", func(t *testing.T, e *evil) {
		d := e.delta(t, "in another's name, fetched")
		by := e.proof(d, e.key)
		by.Author, _ = s.member(t, 0)
		e.offer(d.DeltaID, history([]wire.ContextDagDelta{d}, e.record(t, d, by)))
	}, outcome("sync", "forged"), run(errkind.Unauthenticated))
	s.attack(t, "nobody's delta, to who catches up", func(t *testing.T, e *evil) {
		d := e.delta(t, "of nobody, fetched")
		e.offer(d.DeltaID, history([]wire.ContextDagDelta{d}, e.record(t, d, wire.DeltaAuthor{})))
	}, outcome("sync", "unsigned"))
	s.attack(t, "plain: another member's name, without a signature", func(t *testing.T, e *evil) {
		for i := range s.honest {
			id, sender := s.member(t, i)
			e.say(e.sealed(t, e.delta(t, fmt.Sprint("unsigned, in the name of ", i)), id, sender))
		}
	}, dropped("refused"))
}

// artifacts: what an honest author has signed, with something else in it.
func (s *scene) artifacts(t *testing.T) {
	altered := func(t *testing.T, d wire.ContextDagDelta, change func(*crdt.Action)) wire.ContextDagDelta {
		actions, err := crdt.DecodeActions(d.Actions)
		require.NoError(t, err)
		change(&actions[0])
		d.Actions, err = crdt.EncodeActions(actions)
		require.NoError(t, err)
		return d
	}
	later := func(a *crdt.Action) { a.Metadata.UpdatedAt += 1 << 40 } // the id stays
	other := func(a *crdt.Action) { a.Data = []byte("other") }
	s.attack(t, "altered artifacts", func(t *testing.T, e *evil) {
		for i, change := range []func(*crdt.Action){later, other} {
			d := e.delta(t, fmt.Sprint("to be altered ", i))
			m := e.signed(t, d, e.key, e.sender)
			m.Artifact = e.sealed(t, altered(t, d, change), e.key.Public(), e.sender).Artifact
			e.say(m)
		}
		m := e.signed(t, e.delta(t, "garbled"), e.key, e.sender)
		m.Artifact = []byte("sealed by nobody")
		e.say(m)
	}, dropped("refused"))
	s.attack(t, "altered deltas, to who catches up", func(t *testing.T, e *evil) {
		d := e.delta(t, "to be altered, fetched")
		e.offer(d.DeltaID, history([]wire.ContextDagDelta{d}, e.record(t, altered(t, d, later), e.proof(d, e.key))))
	}, outcome("sync", "forged"))
	s.attack(t, "another delta than asked for", func(t *testing.T, e *evil) {
		d, x := e.delta(t, "asked for"), e.delta(t, "not asked for")
		e.offer(d.DeltaID, history([]wire.ContextDagDelta{d}, e.record(t, x, e.proof(x, e.key))))
	}, run(errkind.Invalid))
}

// topics: messages where they do not belong.
func (s *scene) topics(t *testing.T) {
	other := domain.ContextID{7}
	s.attack(t, "wrong topic", func(t *testing.T, e *evil) {
		m := e.signed(t, e.delta(t, "of another context"), e.key, e.sender)
		m.Context = other
		e.say(m)
		e.say(wire.HashHeartbeat{Context: other})
		e.say(wire.GroupStateHeartbeat{Group: domain.GroupID(e.id)})
	}, dropped("delta"), dropped("heartbeat"), dropped("wrong topic"))
	s.attack(t, "the topic where special nodes are looked for", func(t *testing.T, e *evil) {
		topic := network.DefaultInviteTopic
		require.NoError(t, harness.Until(t.Context(), "the nodes are in "+topic, func(ctx context.Context) error {
			if peers, err := e.TopicPeers(ctx, topic); err != nil || len(peers) < len(s.honest) {
				return fmt.Errorf("%d, %w", len(peers), err)
			}
			return nil
		}))
		e.sayIn(topic, wire.HashHeartbeat{Context: e.id})
		e.sayIn(topic, []byte("garbage"))
		for i := range 500 {
			e.sayIn(topic, wire.SpecializedNodeDiscovery{Nonce: number(uint64(i))}) //nolint:gosec // small
		}
	}, message("rejected"), message("ignored"))
	s.attack(t, "wrong group", func(t *testing.T, e *evil) {
		op := func(group domain.GroupID, key domain.PrivateKey) []byte {
			_, raw, err := wire.SignableGroupOp{
				Version: wire.GroupOpVersion, Group: group, Signer: key.Public(), Nonce: 1, Op: wire.OpNoop{},
			}.SignRaw(key)
			require.NoError(t, err)
			return raw
		}
		topic, own := e.topics[1], domain.GroupID(e.id)
		e.sayIn(topic, wire.GroupGovernanceDelta{Group: domain.GroupID{7}, Payload: op(own, e.key)})
		e.sayIn(topic, wire.GroupGovernanceDelta{Group: own, Payload: op(domain.GroupID{7}, e.key)})
		e.sayIn(topic, wire.SignedGroupOpV1{Payload: op(own, domain.PrivateKey{0x5a})})
		e.sayIn(topic, wire.GroupGovernanceDelta{Group: own, Payload: []byte("no operation")})
	}, group("wrong group"), group("operation"))
}

// replays: what was said before, again and again.
func (s *scene) replays(t *testing.T) {
	heard := s.overheard(t)
	s.attack(t, "replay", func(t *testing.T, e *evil) {
		for range 100 {
			for _, m := range heard {
				e.say(m.Data)
			}
		}
	}, dropped("seen"))
}

// replaysAnew: the same to nodes that have been started anew, and remember nothing of what they have heard.
func (s *scene) replaysAnew(t *testing.T) {
	heard := s.overheard(t)
	for i, n := range s.nodes() {
		require.NoError(t, n.Kill())
		startAgain(t, s.c, i)
	}
	s.honest = s.c.Again(s.honest)
	s.c.Equal(t, s.honest...)
	s.attack(t, "replay to nodes that were started anew", func(t *testing.T, e *evil) {
		for range 100 {
			for _, m := range heard {
				e.say(m.Data)
			}
		}
	}, outcome("gossip", "duplicate"), dropped("seen"))
}

// overheard are deltas that both nodes have just said, as they were said.
func (s *scene) overheard(t *testing.T) (heard []network.Message) {
	t.Helper()
	const signed = 0xc0
	ear := newEvil(t, s.v, s.nodes(), false)
	s.together(t)
	require.NoError(t, harness.Until(t.Context(), "the deltas were heard", func(context.Context) error {
		ear.mu.Lock()
		defer ear.mu.Unlock()
		if heard = ear.heard[signed]; len(heard) < len(s.honest) {
			return fmt.Errorf("%d messages", len(heard))
		}
		return nil
	}))
	return heard
}

// sizes: frames and counts beyond all bounds.
func (s *scene) sizes(t *testing.T) {
	s.attack(t, "gossip with endless lists", func(t *testing.T, e *evil) {
		e.say(endless(0xc0, 32+32+32))                       // parents of a signed delta
		e.say(endless(0, 32+32+32))                          // of the reference's
		e.say(endless(1, 32+32))                             // heads of a heartbeat
		e.say(append([]byte{0xc0}, make([]byte, 60<<10)...)) // zeros
		m := e.signed(t, e.delta(t, "many parents", number(1)), e.key, e.sender)
		for i := range 1100 {
			m.Parents = append(m.Parents, number(uint64(i+2))) //nolint:gosec // small
		}
		e.say(m)
	}, dropped("malformed"), dropped("delta"))
	s.attack(t, "requests with endless lists", func(t *testing.T, e *evil) {
		for _, n := range s.nodes() {
			for _, m := range []any{
				endless(5, 0), endless(7, 0), // history from, deltas
				wire.HistoryRequest{From: make([]domain.Hash, wire.MaxHistoryFrom+1)},
			} {
				stream := e.session(n, e.key)
				require.True(t, tell(t.Context(), stream, m))
				r, ok := e.next(stream).(wire.Refusal)
				require.True(t, ok)
				require.Contains(t, []errkind.Kind{errkind.Invalid, errkind.TooLarge}, r.Kind)
			}
			stream := e.session(n, e.key)
			tell(t.Context(), stream, make([]byte, 512<<10)) // cut off on the way
			_, err := stream.ReadFrame(t.Context(), 0)
			require.Error(t, err)
		}
	}, refusal("extension", errkind.Invalid), refusal("extension", errkind.TooLarge))
	s.attack(t, "answers with endless lists", func(t *testing.T, e *evil) {
		var asked atomic.Int32
		e.offer(number(9), func(wire.ExtensionMessage) []any {
			asked.Add(1)
			return []any{endless(4, 0)} // heads
		})
		require.NoError(t, harness.Until(t.Context(), "both nodes ask", func(context.Context) error {
			if asked.Load() < 2 {
				return errors.New("not yet")
			}
			return nil
		}))
	}, run(errkind.Invalid))
	s.attack(t, "too many heads, history without end", func(t *testing.T, e *evil) {
		e.offer(number(10), func(q wire.ExtensionMessage) []any {
			switch q := q.(type) {
			case wire.HeadsRequest:
				return []any{wire.Heads{DagHeads: []domain.Hash{number(10)}, RootHash: domain.Hash{1}}}
			case wire.HistoryRequest:
				at := binary.BigEndian.Uint64(q.From[0][:])
				var h wire.History
				for range q.Limit {
					h.Entries = append(h.Entries, wire.HistoryEntry{Delta: number(at), Parents: []domain.Hash{number(at + 1)}})
					at++
				}
				if at > uint64(harness.Scale(60_000, 1_000_000)) { //nolint:gosec // positive
					return []any{wire.Heads{DagHeads: make([]domain.Hash, 6000)}}
				}
				return []any{h}
			}
			return []any{wire.Deltas{}}
		})
	}, run(errkind.Invalid))
	s.attack(t, "oversized frames", func(t *testing.T, e *evil) {
		h := rude(t)
		for _, n := range s.nodes() {
			for _, id := range []string{wire.SyncProtocol, wire.ExtensionProtocol, wire.BlobProtocol} {
				for _, length := range []uint32{9 << 20, 1<<32 - 1} {
					stream := raw(t, h, n, id)
					_, err := stream.Write(binary.BigEndian.AppendUint32(nil, length))
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, stream)
					require.Error(t, err, "it is cut off: %s", id)
				}
			}
		}
	}, refusal("extension", errkind.TooLarge), refusal("reference", errkind.TooLarge))
}

// rude is a libp2p host that has no manners.
func rude(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.ResourceManager(&p2p.NullResourceManager{}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// raw opens a stream without any framing.
func raw(t *testing.T, h host.Host, n *harness.Node, id string) p2p.Stream {
	t.Helper()
	for _, address := range n.Swarm().Addresses {
		if isTCP(address) {
			info, err := peer.AddrInfoFromString(address)
			require.NoError(t, err)
			require.NoError(t, h.Connect(t.Context(), *info))
			stream, err := h.NewStream(t.Context(), info.ID, protocol.ID(id))
			require.NoError(t, err)
			return stream
		}
	}
	t.Fatal("the node has no TCP address")
	return nil
}

// signatures that are none, or of another key.
func (s *scene) signatures(t *testing.T) {
	s.attack(t, "invalid signatures", func(t *testing.T, e *evil) {
		m := e.signed(t, e.delta(t, "badly signed"), e.key, e.sender)
		m.Signature[0] ^= 1
		e.say(m)
		m.Signature = domain.Signature{}
		e.say(m)
		d := e.delta(t, "announced, badly signed")
		e.say(wire.DeltaAnnounce{DeltaStatement: d.Statement(e.id, wire.DeltaAuthor{Author: e.key.Public()})})
		for _, n := range s.nodes() { // a session without the key
			r, ok := e.next(e.session(n, domain.PrivateKey{0x5a})).(wire.Refusal)
			require.True(t, ok)
			require.Equal(t, errkind.Unauthenticated, r.Kind)
		}
	}, dropped("signature"), refusal("extension", errkind.Unauthenticated))
}

func number(n uint64) (h domain.Hash) {
	h[31] = 1
	binary.BigEndian.PutUint64(h[:], n)
	return h
}

// parents: deltas that are well made and signed, on top of what does not exist: with a few parents each, from several peers;
// and with as many as are allowed, a million in all at full scale.
func (s *scene) parents(t *testing.T) {
	const most = 1024
	s.attack(t, "pending parents", func(t *testing.T, e *evil) {
		begin := time.Now()
		_, before, _ := s.look(t)
		next, total, said := uint64(1), 0, 0
		tell := func(what string, n int) {
			var parents []domain.Hash
			for range n {
				next++
				parents = append(parents, number(next<<16))
			}
			e.say(e.signed(t, e.delta(t, fmt.Sprint(what, said), parents...), e.key, e.sender))
			total += n
			if said++; said%500 == 0 {
				s.taken(t, before, said) // what a peer says in advance of that is lost in its own queue
			}
		}
		for range harness.Scale(100, 1000) {
			tell("with many parents ", most)
		}
		for range harness.Scale(2000, 100_000) {
			tell("orphan ", 1)
			if said%1500 == 0 {
				e.leave()
				e = newEvil(t, s.v, s.nodes(), false) // a source may only say so much at once
			}
		}
		s.taken(t, before, said)
		t.Logf("%d parents that do not exist, in %v", total, time.Since(begin).Round(time.Millisecond))
	}, outcome("gossip", "pending"))
	infos, _, rss := s.look(t)
	require.Len(t, infos, len(rss))
	t.Logf("cores have %d and %d MiB afterwards", rss[0]>>20, rss[1]>>20)
}

// taken waits until the nodes have dealt with so many deltas of gossip since before: kept, refused, or not let in.
func (s *scene) taken(t *testing.T, before []harness.Metrics, deltas int) {
	t.Helper()
	dealt := func(m harness.Metrics) (n float64) {
		for _, c := range []count{
			outcome("gossip", "pending"), outcome("gossip", "refused"), {"calimero_network_messages_total", []string{"verdict", "ignored"}},
		} {
			n += value(m, c)
		}
		return n
	}
	for i, client := range s.clients() {
		require.NoError(t, harness.Until(t.Context(), fmt.Sprint("node ", i, " has dealt with ", deltas, " deltas"), func(ctx context.Context) error {
			now, err := client.Metrics(ctx)
			if err != nil {
				return err
			}
			if n := dealt(now) - dealt(before[i]); n < float64(deltas) {
				return fmt.Errorf("%v so far: %s", n, s.outcomes(now))
			}
			return nil
		}))
	}
}

// slowStreams opens as many streams as the nodes take, to each protocol, and sends a byte now and then. It begins before the
// other attacks and is still there while they go on; finish checks that the nodes have ended all of them.
func slowStreams(t *testing.T, s *scene) (finish func(t *testing.T)) {
	t.Helper()
	var streams []p2p.Stream
	for range 8 {
		h := rude(t)
		for _, n := range s.nodes() {
			for _, id := range []string{wire.SyncProtocol, wire.ExtensionProtocol, wire.BlobProtocol} {
				for range 10 { // more than a peer may have
					streams = append(streams, raw(t, h, n, id))
				}
			}
		}
	}
	var drips sync.WaitGroup
	for _, stream := range streams {
		drips.Go(func() {
			for next := []byte{0, 0, 8, 0}; ; next = []byte{1} { // a frame of 2,048 bytes
				if _, err := stream.Write(next); err != nil {
					return
				}
				select {
				case <-t.Context().Done():
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	return func(t *testing.T) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			drips.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(harness.Patience):
			t.Fatal("streams on which nothing comes are open still")
		}
		for i, client := range s.clients() {
			m, err := client.Metrics(t.Context())
			require.NoError(t, err)
			refused := value(m, count{"calimero_network_streams_total", []string{"direction", "in", "outcome", "refused"}})
			require.Positive(t, refused, "node %d: nobody gets more than its share", i)
		}
		s.together(t)
	}
}
