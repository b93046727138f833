package wasmer

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
	"github.com/calimero-go/core/runtime-wasmer/internal/rewrite"
)

// module is a built module in memory with the runners that are idle.
type module struct {
	key       moduleKey
	built     *built
	functions []*guestabi.Function
	imports   []engine.Import
	linkFault *runtime.Fault

	// Under modules.mu.
	idle  []*engine.Runner
	gone  bool
	place *list.Element
}

type moduleKey struct {
	id    domain.Hash
	pages uint32
}

// modules finds modules in memory, then on disk, and compiles what is on disk
// only as installed. It keeps at most max bytes of code in memory, idle runners
// included; running ones come on top.
type modules struct {
	disk    *diskCache
	compile Compiler
	max     int
	// compiling bounds the compilations at one time.
	compiling chan struct{}

	mu     sync.Mutex
	loaded map[moduleKey]*module
	lru    *list.List // of *module, most recently used first
	bytes  int
	making map[moduleKey]chan struct{}
	closed bool

	// renewing counts the runners being replaced.
	renewing sync.WaitGroup
}

func newModules(disk *diskCache, compile Compiler, maxBytes, parallel int) *modules {
	return &modules{disk: disk, compile: compile, max: maxBytes, compiling: make(chan struct{}, max(1, parallel)),
		loaded: make(map[moduleKey]*module), lru: list.New(), making: make(map[moduleKey]chan struct{})}
}

// get returns the module, nil when it is not known. wasm is given when the
// module may be new. cached tells that nothing had to be compiled.
func (s *modules) get(ctx context.Context, key moduleKey, wasm []byte) (m *module, cached bool, err error) {
	for {
		s.mu.Lock()
		if m := s.loaded[key]; m != nil {
			s.lru.MoveToFront(m.place)
			s.mu.Unlock()
			return m, true, nil
		}
		wait := s.making[key]
		if wait == nil {
			wait = make(chan struct{})
			s.making[key] = wait
			s.mu.Unlock()
			m, cached, err := s.make(ctx, key, wasm)
			s.mu.Lock()
			delete(s.making, key)
			close(wait)
			if m != nil && err == nil {
				s.insert(m)
			}
			s.mu.Unlock()
			return m, cached, err
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (s *modules) make(ctx context.Context, key moduleKey, wasm []byte) (*module, bool, error) {
	b, err := s.disk.built(key.id, key.pages)
	if err != nil {
		return nil, false, err
	}
	if b != nil {
		return link(key, b), true, nil
	}
	if wasm == nil {
		if wasm, err = s.disk.wasm(key.id); err != nil || wasm == nil {
			return nil, false, err
		}
	}
	select {
	case s.compiling <- struct{}{}:
		defer func() { <-s.compiling }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	start := time.Now()
	data, err := s.compile(ctx, wasm, key.pages)
	if err != nil {
		return nil, false, err
	}
	if b, err = decodeBuilt(data); err != nil {
		return nil, false, err
	}
	b.Info.ID = key.id
	b.Info.PrepareMicros = uint64(time.Since(start).Microseconds())
	if err := s.disk.store(key.id, key.pages, wasm, b); err != nil {
		return nil, false, err
	}
	return link(key, b), false, nil
}

func link(key moduleKey, b *built) *module {
	m := &module{key: key, built: b}
	m.functions, m.linkFault = guestabi.Link(b.Info.Imports)
	for _, f := range m.functions {
		m.imports = append(m.imports, engine.Import{Params: engineTypes(f.Params), Results: engineTypes(f.Results)})
	}
	return m
}

func engineTypes(names []string) []engine.ValType {
	var out []engine.ValType
	for _, n := range names {
		if n == "i32" {
			out = append(out, engine.I32)
		} else {
			out = append(out, engine.I64)
		}
	}
	return out
}

// insert and evict run under s.mu.
func (s *modules) insert(m *module) {
	if s.closed || s.loaded[m.key] != nil {
		m.gone = true
		return
	}
	s.loaded[m.key] = m
	m.place = s.lru.PushFront(m)
	s.bytes += len(m.built.Artifact)
	s.evict(m)
}

func (s *modules) evict(keep *module) {
	for e := s.lru.Back(); e != nil && s.bytes > s.max; {
		m := e.Value.(*module)
		e = e.Prev()
		if m != keep {
			s.drop(m)
		}
	}
	for s.bytes > s.max && keep != nil && len(keep.idle) > 0 {
		s.closeIdle(keep, 1)
	}
}

func (s *modules) closeIdle(m *module, n int) {
	for range n {
		last := len(m.idle) - 1
		m.idle[last].Close()
		m.idle = m.idle[:last]
		s.bytes -= len(m.built.Artifact)
	}
}

func (s *modules) drop(m *module) {
	s.closeIdle(m, len(m.idle))
	s.lru.Remove(m.place)
	delete(s.loaded, m.key)
	s.bytes -= len(m.built.Artifact)
	m.gone = true
}

// acquire returns an idle runner or loads one.
func (s *modules) acquire(m *module) (*engine.Runner, error) {
	s.mu.Lock()
	if n := len(m.idle); n > 0 {
		r := m.idle[n-1]
		m.idle = m.idle[:n-1]
		s.bytes -= len(m.built.Artifact)
		s.mu.Unlock()
		return r, nil
	}
	s.mu.Unlock()
	return m.load()
}

func (m *module) load() (*engine.Runner, error) {
	return engine.Load(m.built.Artifact, m.imports,
		engine.Guards{Memory: guestabi.MemoryExport, Stack: rewrite.StackExport, Stop: rewrite.StopExport})
}

// release takes a runner back. A broken one is closed, a worn one replaced, which takes milliseconds and so does not
// happen on the call's time.
func (s *modules) release(m *module, r *engine.Runner, broken bool) {
	r.Finish()
	switch {
	case broken:
		r.Close()
	case r.Worn():
		s.renewing.Add(1)
		go s.renew(m, r)
	default:
		s.keep(m, r)
	}
}

// renew replaces a worn runner, unless another one is idle: then there are enough. When none can be loaded, the next
// acquire says why.
func (s *modules) renew(m *module, worn *engine.Runner) {
	defer s.renewing.Done()
	worn.Close()
	s.mu.Lock()
	enough := m.gone || s.closed || len(m.idle) > 0
	s.mu.Unlock()
	if enough {
		return
	}
	if r, err := m.load(); err == nil {
		s.keep(m, r)
	}
}

// keep puts a runner aside for the next call.
func (s *modules) keep(m *module, r *engine.Runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.gone || s.closed {
		r.Close()
		return
	}
	m.idle = append(m.idle, r)
	s.bytes += len(m.built.Artifact)
	s.evict(m)
}

func (s *modules) forget(id domain.Hash) error {
	s.mu.Lock()
	for key, m := range s.loaded {
		if key.id == id {
			s.drop(m)
		}
	}
	s.mu.Unlock()
	return s.disk.forget(id)
}

func (s *modules) close() {
	defer s.renewing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, m := range s.loaded {
		s.drop(m)
	}
}
