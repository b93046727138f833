package rewrite

import "slices"

// guard is what Rewrite knows about the functions: the cost of each, and which
// get a thunk, in order.
type guard struct {
	costs   []uint32
	guarded []int
}

// newGuard gives a thunk to the functions that may call themselves, over
// whatever way, and to those that would let a chain of others grow beyond
// UnguardedStack. All other functions are called to a depth that is known.
func (m *Module) newGuard(functions []function) guard {
	costs := make([]uint32, len(functions))
	push, vectors := m.maxPush(), m.hasVectors()
	for i, body := range m.bodies {
		costs[i] = frameCost(body, m.Types[m.functions[i]], push, vectors)
	}
	g := &graph{m: m, functions: functions, costs: costs, taken: m.takenFunctions(functions)}
	return guard{costs: costs, guarded: g.guarded()}
}

// takenFunctions lists the defined functions that a table may hold.
func (m *Module) takenFunctions(functions []function) []int {
	all := func() []int {
		out := make([]int, len(functions))
		for i := range out {
			out[i] = i
		}
		return out
	}
	if slices.ContainsFunc(functions, func(f function) bool { return f.refs }) || slices.Contains(m.body(secGlobal), 0xd2) {
		return all()
	}
	var out []int
	r := &reader{b: m.body(secElement)}
	if len(r.b) == 0 {
		return nil
	}
	for range r.count("element segments", maxFunctions) {
		// The form that compilers write: table 0, a constant offset, indices.
		if r.u32() != 0 {
			return all()
		}
		if op := r.byte(); op != 0x41 && op != 0x23 {
			return all()
		}
		r.leb()
		if r.byte() != 0x0b {
			return all()
		}
		for range r.count("elements", MaxTableEntries) {
			if i := int(r.u32()) - m.importedFuncs; i >= 0 && i < len(functions) {
				out = append(out, i)
			}
		}
		if r.err != nil {
			return all()
		}
	}
	return out
}

// graph is the call graph of the defined functions and one more node, the table:
// whoever calls through a table calls it, and it calls every function taken.
type graph struct {
	m         *Module
	functions []function
	costs     []uint32
	taken     []int

	// Tarjan's strongly connected components, without recursion.
	index, low []int
	onStack    []bool
	stack      []int
	next       int
	// depth is the most stack that functions without a thunk take together on any
	// path from here.
	depth   []uint64
	thunked []bool
}

func (g *graph) table() int { return len(g.functions) }

// edges returns the nodes that n calls; imported functions are none.
func (g *graph) edges(n int) []int {
	if n == g.table() {
		return g.taken
	}
	f := &g.functions[n]
	out := make([]int, 0, len(f.calls)+1)
	for _, c := range f.calls {
		if i := int64(c) - int64(g.m.importedFuncs); i >= 0 && i < int64(len(g.functions)) {
			out = append(out, int(i))
		}
	}
	if f.indirect {
		out = append(out, g.table())
	}
	return out
}

func (g *graph) guarded() []int {
	n := len(g.functions) + 1
	g.index, g.low = make([]int, n), make([]int, n)
	g.onStack, g.depth, g.thunked = make([]bool, n), make([]uint64, n), make([]bool, n)
	for i := range n {
		if g.index[i] == 0 {
			g.visit(i)
		}
	}
	var out []int
	for i := range g.functions {
		if g.thunked[i] {
			out = append(out, i)
		}
	}
	return out
}

type frame struct {
	node  int
	edges []int
}

func (g *graph) visit(root int) {
	var path []frame
	enter := func(n int) {
		g.next++
		g.index[n], g.low[n] = g.next, g.next
		g.stack, g.onStack[n] = append(g.stack, n), true
		path = append(path, frame{n, g.edges(n)})
	}
	enter(root)
	for len(path) > 0 {
		top := &path[len(path)-1]
		if len(top.edges) > 0 {
			to := top.edges[0]
			top.edges = top.edges[1:]
			if g.index[to] == 0 {
				enter(to)
			} else if g.onStack[to] {
				g.low[top.node] = min(g.low[top.node], g.index[to])
			}
			continue
		}
		n := top.node
		path = path[:len(path)-1]
		if len(path) > 0 {
			parent := path[len(path)-1].node
			g.low[parent] = min(g.low[parent], g.low[n])
		}
		if g.low[n] == g.index[n] {
			g.finish(n)
		}
	}
}

// finish takes the component of n from the stack. Components come out after all
// they call, so the depths below are known.
func (g *graph) finish(n int) {
	at := slices.Index(g.stack, n)
	component := g.stack[at:]
	g.stack = g.stack[:at]
	cycle := len(component) > 1 || slices.Contains(g.edges(n), n)
	for _, c := range component {
		g.onStack[c] = false
	}
	g.settle(component, cycle)
}

// settle decides on a component. A path over functions leaves a component once
// at most, so below all of its members lies what lies below any.
func (g *graph) settle(component []int, cycle bool) {
	below := uint64(0)
	for _, n := range component {
		for _, to := range g.edges(n) {
			if !slices.Contains(component, to) {
				below = max(below, g.depth[to])
			}
		}
	}
	for _, n := range component {
		g.depth[n] = below
		if n == g.table() {
			continue
		}
		if own := below + uint64(g.costs[n]); !cycle && own <= UnguardedStack {
			g.depth[n] = own
		} else {
			g.thunked[n] = true
		}
	}
}
