package harness

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Faults is what a proxy does to what it passes on, by a seed.
type Faults struct {
	Seed uint64
	// Delay bounds the random time for which each chunk of a stream, or datagram, is held: datagrams overtake each other
	// by it, streams those of other connections.
	Delay time.Duration
	// Break is the chance that a connection ends after a chunk.
	Break float64
	// Lose and Double are the chances that a datagram is lost, or comes twice.
	Lose, Double float64
}

// Proxy passes on TCP connections or UDP datagrams, and does them harm.
type Proxy struct {
	// Addr is where it listens.
	Addr string
	// Passed counts chunks and datagrams, Broken connections, Lost and Doubled datagrams.
	Passed, Broken, Lost, Doubled atomic.Int64

	network, target string
	faults          Faults
	ctx             context.Context
	cancel          context.CancelFunc
	work            sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
	open   map[net.Conn]struct{}
}

// StartProxy listens for a network, tcp or udp, and passes on to target. Close ends it.
func StartProxy(network, listen, target string, f Faults) (*Proxy, error) {
	p := &Proxy{
		network: network, target: target, faults: f, open: map[net.Conn]struct{}{},
		random: rand.New(rand.NewPCG(f.Seed, 1)), //nolint:gosec // a test's faults
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if network == "udp" {
		c, err := net.ListenPacket(network, listen)
		if err != nil {
			return nil, err
		}
		p.Addr = c.LocalAddr().String()
		p.work.Go(func() { p.datagrams(c) })
		context.AfterFunc(p.ctx, func() { _ = c.Close() })
		return p, nil
	}
	l, err := net.Listen(network, listen)
	if err != nil {
		return nil, err
	}
	p.Addr = l.Addr().String()
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			p.work.Go(func() { p.connection(c) })
		}
	})
	context.AfterFunc(p.ctx, func() { _ = l.Close() })
	return p, nil
}

// Close ends the proxy and all that goes through it.
func (p *Proxy) Close() {
	p.cancel()
	p.BreakAll()
	p.work.Wait()
}

// BreakAll ends all connections; new ones may be made. Datagrams go on from other ports, as those of a router that has
// forgotten them.
func (p *Proxy) BreakAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		p.Broken.Add(1)
		_ = c.Close()
	}
	clear(p.open)
}

// chance draws whether something happens.
func (p *Proxy) chance(of float64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return of > 0 && p.random.Float64() < of
}

func (p *Proxy) delay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults.Delay <= 0 {
		return 0
	}
	return time.Duration(p.random.Int64N(int64(p.faults.Delay)))
}

// hold waits; it is false when the proxy ends before.
func (p *Proxy) hold() bool {
	timer := time.NewTimer(p.delay())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// keep remembers a connection until it is closed by end; it is false when the proxy has ended.
func (p *Proxy) keep(c net.Conn) (end func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		_ = c.Close()
		return nil, false
	}
	p.open[c] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, c)
		_ = c.Close()
	}, true
}

func (p *Proxy) isOpen(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.open[c]
	return ok
}

// connection passes on one TCP connection.
func (p *Proxy) connection(near net.Conn) {
	endNear, ok := p.keep(near)
	if !ok {
		return
	}
	defer endNear()
	far, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(p.ctx, p.network, p.target)
	if err != nil {
		return
	}
	endFar, ok := p.keep(far)
	if !ok {
		return
	}
	defer endFar()
	var both sync.WaitGroup
	pass := func(from, to net.Conn) {
		defer func() { _, _ = from.Close(), to.Close() }() // one direction does not go on without the other
		chunk := make([]byte, 16<<10)
		for {
			n, err := from.Read(chunk)
			if n > 0 {
				if !p.hold() {
					return
				}
				if _, werr := to.Write(chunk[:n]); werr != nil {
					return
				}
				p.Passed.Add(1)
				if p.chance(p.faults.Break) {
					p.Broken.Add(1)
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() { pass(near, far) })
	both.Go(func() { pass(far, near) })
	both.Wait()
}

// datagrams passes on datagrams; each sender gets a socket of its own, through which the answers come.
func (p *Proxy) datagrams(c net.PacketConn) {
	far := map[string]net.Conn{}
	packet := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an answer of ICMP
		}
		to := far[from.String()]
		if !p.isOpen(to) {
			if to, err = net.Dial(p.network, p.target); err != nil {
				continue
			}
			end, ok := p.keep(to)
			if !ok {
				return
			}
			defer end() // at the latest
			far[from.String()] = to
			p.work.Go(func() {
				back := make([]byte, 64<<10)
				for {
					n, err := to.Read(back)
					if errors.Is(err, net.ErrClosed) {
						return
					}
					if err == nil {
						p.datagram(back[:n], func(b []byte) { _, _ = c.WriteTo(b, from) })
					}
				}
			})
		}
		p.datagram(packet[:n], func(b []byte) { _, _ = to.Write(b) })
	}
}

// datagram passes on one of them, later.
func (p *Proxy) datagram(content []byte, send func([]byte)) {
	if p.chance(p.faults.Lose) {
		p.Lost.Add(1)
		return
	}
	copies := 1
	if p.chance(p.faults.Double) {
		p.Doubled.Add(1)
		copies = 2
	}
	content = append([]byte(nil), content...)
	for range copies {
		p.work.Go(func() {
			if p.hold() {
				send(content)
				p.Passed.Add(1)
			}
		})
	}
}
