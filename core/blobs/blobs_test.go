package blobs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

const mib = 1 << 20

// faulty is a storage whose Apply can be made to fail, before or after it took place.
type faulty struct {
	storage.Store
	mu            sync.Mutex
	before, after error
}

func (f *faulty) set(before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *faulty) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		return false, before
	}
	replayed, err := f.Store.Apply(ctx, b)
	if err == nil && after != nil {
		return false, after
	}
	return replayed, err
}

type fixture struct {
	*blobs.Store
	db  *store.DB
	raw *faulty
	dir string
}

func open(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{raw: &faulty{Store: storagetest.NewMemory()}, dir: filepath.Join(t.TempDir(), "blobs")}
	f.db = store.Open(f.raw, store.Options{})
	f.reopen(t)
	return f
}

func (f *fixture) reopen(t *testing.T) {
	t.Helper()
	s, err := blobs.Open(t.Context(), f.db, f.dir, blobs.Options{})
	require.NoError(t, err)
	f.Store = s
}

// files are the names in the blob folder and how many temporary files there are.
func (f *fixture) files(t *testing.T) (chunks []string, temporary int) {
	t.Helper()
	entries, err := os.ReadDir(f.dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() {
			chunks = append(chunks, e.Name())
		}
	}
	staging, err := os.ReadDir(filepath.Join(f.dir, ".staging"))
	require.NoError(t, err)
	return chunks, len(staging)
}

func (f *fixture) put(t *testing.T, data []byte) domain.BlobID {
	t.Helper()
	id, size, err := f.Put(t.Context(), bytes.NewReader(data), nil)
	require.NoError(t, err)
	require.EqualValues(t, len(data), size)
	require.Equal(t, blobid.Of(data), id)
	return id
}

func (f *fixture) read(t *testing.T, id domain.BlobID) []byte {
	t.Helper()
	r, err := f.Open(t.Context(), id)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return data
}

func random(n int, seed uint64) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	return data
}

func TestPutAndRead(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, size := range []int{0, 1, 11, mib - 1, mib, mib + 1, 3*mib + 17} {
		data := random(size, uint64(size))
		id := f.put(t, data)
		require.Equal(t, data, append([]byte{}, f.read(t, id)...))
		info, err := f.Info(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, blobs.Info{ID: id, Hash: sha256.Sum256(data), Size: uint64(size)}, info)
	}
	list, err := f.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 7, "without chunks")
	_, temporary := f.files(t)
	require.Zero(t, temporary)
}

func TestReferencesIDs(t *testing.T) {
	t.Parallel()
	f := open(t)
	id := f.put(t, []byte("hello world")) // governance.md §11
	require.Equal(t, "DgP47qmEt72sBgNuNeu6VZMrLFQR8qfX3HcHGiexxMLW", id.String())
	chunk, err := hex.DecodeString("b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9")
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(f.dir, domain.BlobID(chunk).String()))
	require.NoError(t, err)
	require.Equal(t, "hello world", string(content))

	// Rows: the chunk, and the root that links it.
	meta, found, err := store.BlobMeta.Get(t.Context(), f.db, domain.BlobID(chunk))
	require.NoError(t, err)
	require.True(t, found)
	require.Empty(t, meta.Links)
	require.Equal(t, domain.Hash(chunk), meta.Hash)
	require.EqualValues(t, 11, meta.Size)
	meta, _, err = store.BlobMeta.Get(t.Context(), f.db, id)
	require.NoError(t, err)
	require.Equal(t, []domain.BlobID{domain.BlobID(chunk)}, meta.Links)

	empty := f.put(t, nil)
	require.Equal(t, domain.BlobID(sha256.Sum256(nil)), empty)
}

func TestReadAt(t *testing.T) {
	t.Parallel()
	f := open(t)
	data := random(2*mib+100, 1)
	id := f.put(t, data)
	rapid.Check(t, func(rt *rapid.T) {
		offset := rapid.IntRange(0, len(data)+10).Draw(rt, "offset")
		length := rapid.IntRange(0, 2*mib).Draw(rt, "length")
		got, err := f.ReadAt(context.Background(), id, uint64(offset), uint64(length))
		if err != nil {
			rt.Fatal(err)
		}
		want := data[min(offset, len(data)):min(offset+length, len(data))]
		if !bytes.Equal(want, got) {
			rt.Fatalf("%d bytes at %d differ", len(want), offset)
		}
	})
	_, err := f.ReadAt(t.Context(), id, 0, blobs.MaxRead+1)
	require.ErrorIs(t, err, errkind.TooLarge)
	got, err := f.ReadAt(t.Context(), id, 1<<63, blobs.MaxRead)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = f.ReadAt(t.Context(), domain.BlobID{1}, 0, 1)
	require.ErrorIs(t, err, errkind.NotFound)
	_, err = f.Open(t.Context(), domain.BlobID{1})
	require.ErrorIs(t, err, errkind.NotFound)
}

func TestRefusedContentLeavesNothing(t *testing.T) {
	t.Parallel()
	data := random(2*mib+5, 2)
	for name, c := range map[string]struct {
		put  func(*fixture) error
		kind errkind.Kind
		text string
	}{
		"hash": {func(f *fixture) error {
			_, _, err := f.Put(t.Context(), bytes.NewReader(data), &domain.Hash{1})
			return err
		}, errkind.Invalid, "hash mismatch"},
		"limit": {func(f *fixture) error {
			_, err := f.PutLimit(t.Context(), bytes.NewReader(data), nil, 2*mib+4)
			return err
		}, errkind.TooLarge, "larger than 2097156 bytes"},
		"reader": {func(f *fixture) error {
			_, _, err := f.Put(t.Context(), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errors.New("cut off"))), nil)
			return err
		}, errkind.Unknown, "cut off"},
		"commit": {func(f *fixture) error {
			f.raw.set(errkind.Internal.Errorf("no"), nil)
			_, _, err := f.Put(t.Context(), bytes.NewReader(data), nil)
			return err
		}, errkind.Internal, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			err := c.put(f)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, c.kind, errkind.Of(err))
			list, err := f.List(t.Context())
			require.NoError(t, err)
			require.Empty(t, list)
			f.raw.set(nil, nil)
			if name == "commit" {
				f.reopen(t) // its outcome was unknown: the files go at the next start
			}
			chunks, temporary := f.files(t)
			require.Empty(t, chunks)
			require.Zero(t, temporary)
		})
	}
}

func TestContentOfACommitOfUnknownOutcomeSurvives(t *testing.T) {
	t.Parallel()
	f := open(t)
	data := random(mib+5, 3)
	f.raw.set(nil, errkind.Internal.Errorf("answer lost"))
	_, _, err := f.Put(t.Context(), bytes.NewReader(data), nil)
	require.ErrorIs(t, err, store.ErrOutcomeUnknown)
	f.raw.set(nil, nil)
	require.Equal(t, data, f.read(t, blobid.Of(data)))
	f.reopen(t)
	require.Equal(t, data, f.read(t, blobid.Of(data)))
	require.NoError(t, f.Delete(t.Context(), blobid.Of(data)))
	chunks, _ := f.files(t)
	require.Empty(t, chunks)
}

func TestOpenRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	f := open(t)
	id := f.put(t, random(mib+5, 4))
	before, _ := f.files(t)
	stray := filepath.Join(f.dir, domain.BlobID{9}.String())
	foreign := filepath.Join(f.dir, "README")
	for _, name := range []string{stray, foreign, filepath.Join(f.dir, ".staging", "chunk-1")} {
		require.NoError(t, os.WriteFile(name, []byte("x"), 0o600))
	}
	f.reopen(t)
	after, temporary := f.files(t)
	require.ElementsMatch(t, append(before, "README"), after)
	require.Zero(t, temporary)
	require.Len(t, f.read(t, id), mib+5)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	shared := random(mib, 5)
	first, second := append(bytes.Clone(shared), 1), append(bytes.Clone(shared), 2)
	a, b := f.put(t, first), f.put(t, second)
	require.Equal(t, a, f.put(t, first), "once more")

	require.ErrorIs(t, f.Delete(ctx, blobid.Chunk(shared)), errkind.Precondition)
	require.NoError(t, f.Delete(ctx, a))
	_, err := f.Info(ctx, a)
	require.ErrorIs(t, err, errkind.NotFound)
	require.Equal(t, second, f.read(t, b), "the shared chunk is still there")
	err = f.Delete(ctx, a)
	require.ErrorIs(t, err, errkind.NotFound)
	require.EqualError(t, err, "Blob not found")
	f.reopen(t)
	require.Equal(t, second, f.read(t, b))

	reader, err := f.Open(ctx, b)
	require.NoError(t, err)
	require.NoError(t, f.Delete(ctx, b))
	data, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, second, data, "an open reader goes on")
	require.NoError(t, reader.Close())
	chunks, _ := f.files(t)
	require.Empty(t, chunks)
	rows, err := store.BlobMeta.List(ctx, f.db, nil)
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestDamageIsFoundAndHealed(t *testing.T) {
	t.Parallel()
	f := open(t)
	data := random(100, 6)
	id := f.put(t, data)
	file := filepath.Join(f.dir, blobid.Chunk(data).String())
	for name, damage := range map[string]func() error{
		"flipped":   func() error { return os.WriteFile(file, append([]byte{data[0] ^ 1}, data[1:]...), 0o600) },
		"short":     func() error { return os.WriteFile(file, data[:50], 0o600) },
		"long":      func() error { return os.WriteFile(file, random(3*mib, 1), 0o600) },
		"gone":      func() error { return os.Remove(file) },
		"directory": func() error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
	} {
		require.NoError(t, damage(), name)
		_, err := f.ReadAt(t.Context(), id, 0, 10)
		require.Error(t, err, name)
		r, err := f.Open(t.Context(), id)
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.Error(t, err, name)
		require.NoError(t, r.Close())
		if name == "directory" {
			require.NoError(t, os.Remove(file))
		} else {
			require.ErrorIs(t, err, errkind.Corrupt, name)
		}
		f.put(t, data)
		require.Equal(t, data, f.read(t, id), "%s: stored again", name)
		require.NoError(t, f.Delete(t.Context(), id)) // and out of the cache
		f.put(t, data)
	}
}

// The content of b is the chunk list of a, so that b's only chunk has a's id.
func TestBlobWhoseChunkIsAnotherBlobsID(t *testing.T) {
	t.Parallel()
	for _, aFirst := range []bool{true, false} {
		f := open(t)
		data := random(77, 7)
		list := blobid.Chunk(data)
		if aFirst {
			f.put(t, data)
			f.put(t, list[:])
		} else {
			f.put(t, list[:])
			f.put(t, data)
		}
		require.Equal(t, data, f.read(t, blobid.Of(data)))
		require.Equal(t, list[:], f.read(t, blobid.Of(list[:])))
		f.reopen(t)
		require.NoError(t, f.Delete(t.Context(), blobid.Of(data)))
		require.Equal(t, list[:], f.read(t, blobid.Of(list[:])))
		require.NoError(t, f.Delete(t.Context(), blobid.Of(list[:])))
		chunks, _ := f.files(t)
		require.Empty(t, chunks)
	}
}

func stage(t *testing.T, g *blobs.Staging, fd uint32, data []byte) domain.BlobID {
	t.Helper()
	id, size := blobid.Of(data), uint64(len(data))
	for len(data) > mib/2 {
		require.NoError(t, g.Part(t.Context(), runtime.BlobPart{FD: fd, Data: data[:mib/2]}))
		data = data[mib/2:]
	}
	require.NoError(t, g.Part(t.Context(), runtime.BlobPart{FD: fd, Data: data, Last: true, ID: id, Size: size}))
	return id
}

func TestStagedBlobsAppearWithTheCommit(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	data, other := random(2*mib+9, 8), random(30, 9)
	g, err := f.Stage(ctx)
	require.NoError(t, err)
	id := stage(t, g, 3, data)
	require.Equal(t, id, stage(t, g, 4, data), "the same twice")
	small := stage(t, g, 3, other)
	require.NoError(t, g.Part(ctx, runtime.BlobPart{FD: 5, Data: []byte("never completed")}))

	size, ok := g.Size(id)
	require.True(t, ok)
	require.EqualValues(t, len(data), size)
	got, ok, err := g.ReadAt(id, mib-1, mib)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, data[mib-1:2*mib-1], got)
	_, ok, err = g.ReadAt(domain.BlobID{1}, 0, 1)
	require.NoError(t, err)
	require.False(t, ok)
	_, err = f.Info(ctx, id)
	require.ErrorIs(t, err, errkind.NotFound)

	b := f.db.Batch()
	require.NoError(t, g.Publish(b))
	_, err = f.Info(ctx, id)
	require.ErrorIs(t, err, errkind.NotFound, "not before the commit")
	require.NoError(t, b.Commit(ctx))
	g.Discard()
	require.Equal(t, data, f.read(t, id))
	require.Equal(t, other, f.read(t, small))
	_, temporary := f.files(t)
	require.Zero(t, temporary)
	f.reopen(t)
	require.Equal(t, data, f.read(t, id))
}

func TestDiscardedBlobsLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fixture, *blobs.Staging){
		"before publish": func(*fixture, *blobs.Staging) {},
		"abandoned": func(f *fixture, g *blobs.Staging) {
			b := f.db.Batch()
			require.NoError(t, g.Publish(b))
			b.Abandon()
		},
		"refused commit": func(f *fixture, g *blobs.Staging) {
			b := f.db.Batch()
			require.NoError(t, g.Publish(b))
			b.Fail(errors.New("something else"))
			require.Error(t, b.Commit(t.Context()))
		},
		"forgotten until the next start": func(f *fixture, g *blobs.Staging) {
			require.NoError(t, g.Publish(f.db.Batch()))
			g.Discard()
			f.reopen(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			kept := random(mib+1, 10)
			keptID := f.put(t, kept)
			before, _ := f.files(t)
			g, err := f.Stage(t.Context())
			require.NoError(t, err)
			stage(t, g, 1, random(mib+9, 11))
			stage(t, g, 2, kept[:mib]) // shares a chunk with what is stored
			require.NoError(t, g.Part(t.Context(), runtime.BlobPart{FD: 3, Data: []byte("open")}))
			end(f, g)
			g.Discard()
			g.Discard()
			chunks, temporary := f.files(t)
			require.ElementsMatch(t, before, chunks)
			require.Zero(t, temporary)
			require.Equal(t, kept, f.read(t, keptID))
		})
	}
}

func TestBadPartsAreRefused(t *testing.T) {
	t.Parallel()
	f := open(t)
	s, err := blobs.Open(t.Context(), f.db, f.dir, blobs.Options{MaxStaged: 3 * mib})
	require.NoError(t, err)
	g, err := s.Stage(t.Context())
	require.NoError(t, err)
	defer g.Discard()
	part := func(p runtime.BlobPart) error { return g.Part(t.Context(), p) }
	require.ErrorIs(t, part(runtime.BlobPart{Data: make([]byte, runtime.SpillPart+1)}), errkind.TooLarge)
	require.ErrorIs(t, part(runtime.BlobPart{Data: []byte("x"), Last: true, ID: domain.BlobID{1}, Size: 1}), errkind.Invalid)
	require.ErrorIs(t, part(runtime.BlobPart{Data: []byte("x"), Last: true, ID: blobid.Of([]byte("x")), Size: 2}), errkind.Invalid)
	for fd := range uint32(128) {
		require.NoError(t, part(runtime.BlobPart{FD: fd}))
	}
	require.ErrorIs(t, part(runtime.BlobPart{FD: 128}), errkind.TooLarge)
	require.NoError(t, part(runtime.BlobPart{Data: make([]byte, mib)}))
	require.NoError(t, part(runtime.BlobPart{Data: make([]byte, mib)}))
	require.ErrorIs(t, part(runtime.BlobPart{Data: make([]byte, mib)}), errkind.TooLarge)
}

// Whatever writers, readers and deleters do at once, a blob that is listed can be read.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := open(t)
	s, err := blobs.Open(t.Context(), f.db, f.dir, blobs.Options{CacheBytes: 2 * mib})
	require.NoError(t, err)
	shared := random(mib, 12)
	var contents [][]byte
	for n := range 4 {
		contents = append(contents, append(bytes.Clone(shared), byte(n)))
	}
	ctx := t.Context()
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 40 {
				data := contents[r.IntN(len(contents))]
				id := blobid.Of(data)
				switch worker % 3 {
				case 0:
					if _, _, err := s.Put(ctx, bytes.NewReader(data), nil); err != nil {
						t.Errorf("put: %v", err)
					}
				case 1:
					got, err := s.ReadAt(ctx, id, mib-1, 2)
					if err != nil && !errors.Is(err, errkind.NotFound) || err == nil && !bytes.Equal(got, data[mib-1:]) {
						t.Errorf("read: %x %v", got, err)
					}
				case 2:
					err := s.Delete(ctx, id)
					if err != nil && !errors.Is(err, errkind.NotFound) && !errkind.IsRetryable(err) {
						t.Errorf("delete: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	list, err := s.List(ctx)
	require.NoError(t, err)
	for _, info := range list {
		r, err := s.Open(ctx, info.ID)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.NoError(t, s.Delete(ctx, info.ID))
	}
	chunks, temporary := f.files(t)
	require.Empty(t, chunks)
	require.Zero(t, temporary)
}
