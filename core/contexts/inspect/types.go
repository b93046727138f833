package inspect

import (
	"strconv"
	"strings"
)

// kind is a kind of type as its borsh form tells them apart.
type kind uint8

const (
	unknownKind kind = iota
	unitKind
	boolKind
	uintKind // of size bytes
	intKind
	floatKind
	charKind
	stringKind
	bytesKind  // a vector of bytes
	keyKind    // 32 bytes shown in base58
	fixedKind  // size bytes
	arrayKind  // size times an element
	listKind   // a vector of elements
	optionKind // an element or none
	dictKind   // a vector of pairs
	tupleKind
	recordKind
	variantKind
	registerKind // a value with its time and writer
	boxKind      // exactly its element
	// Collections: their value is the id of an entity.
	mapKind
	setKind
	vectorKind
	counterKind
	upDownKind
	textKind
	userKind
	frozenKind
)

// typ is a type of values in the state.
type typ struct {
	kind   kind
	name   string // as shown
	size   int
	of     []*typ // elements; of a map key and value
	fields []field
}

type field struct {
	name string
	typ  *typ // of a variant nil when it has no payload
}

// resolve follows types that are exactly another one.
func (t *typ) resolve() *typ {
	for range maxTypeDepth {
		if t.kind != boxKind {
			break
		}
		t = t.of[0]
	}
	return t
}

// maxTypeDepth bounds the nesting of a type, and so of a value.
const maxTypeDepth = 32

// parseType reads the name of a Rust type, as rows have it (crdt-storage.md §3.1). What is not known is of kind
// unknown.
func parseType(name string) *typ {
	p := typeParser{in: name}
	t := p.parse(0)
	if p.skip(); p.bad || p.in != "" {
		return &typ{name: name}
	}
	return t
}

type typeParser struct {
	in  string
	bad bool
}

func (p *typeParser) skip() { p.in = strings.TrimLeft(p.in, " ") }

func (p *typeParser) take(token string) bool {
	p.skip()
	if strings.HasPrefix(p.in, token) {
		p.in = p.in[len(token):]
		return true
	}
	return false
}

func (p *typeParser) parse(depth int) *typ {
	if depth == maxTypeDepth {
		p.bad = true
	}
	if p.bad {
		return &typ{}
	}
	switch {
	case p.take("("):
		t := &typ{kind: tupleKind, of: p.list(")", depth)}
		if t.name = "(" + names(t.of) + ")"; len(t.of) == 0 {
			t.kind = unitKind
		}
		return t
	case p.take("["):
		return p.array(depth)
	case p.take("&"):
		return p.parse(depth + 1)
	}
	end := strings.IndexAny(p.in, "<>,()[]; ")
	if end < 0 {
		end = len(p.in)
	}
	path := p.in[:end]
	p.in = p.in[end:]
	if p.bad = path == ""; p.bad {
		return &typ{}
	}
	var args []*typ
	if p.take("<") {
		args = p.list(">", depth)
	}
	return named(path[strings.LastIndex(path, ":")+1:], args)
}

func (p *typeParser) list(end string, depth int) []*typ {
	var out []*typ
	for !p.take(end) {
		out = append(out, p.parse(depth+1))
		if !p.take(",") && !strings.HasPrefix(strings.TrimLeft(p.in, " "), end) {
			p.bad = true
		}
		if p.bad || len(out) > 64 {
			p.bad = true
			return nil
		}
	}
	return out
}

func (p *typeParser) array(depth int) *typ {
	e := p.parse(depth + 1)
	if !p.take(";") {
		p.bad = p.bad || !p.take("]")
		return &typ{name: "[" + e.name + "]"}
	}
	p.skip()
	digits, rest, ok := strings.Cut(p.in, "]")
	n, err := strconv.ParseUint(digits, 10, 16)
	if p.in = rest; !ok || err != nil {
		p.bad = true
		return &typ{}
	}
	t := &typ{kind: arrayKind, size: int(n), of: []*typ{e}, name: "[" + e.name + "; " + digits + "]"}
	if e.kind == uintKind && e.size == 1 {
		t.kind, t.of = fixedKind, nil
	}
	return t
}

var plainTypes = map[string]typ{
	"bool": {kind: boolKind}, "char": {kind: charKind}, "String": {kind: stringKind}, "str": {kind: stringKind},
	"u8": {kind: uintKind, size: 1}, "u16": {kind: uintKind, size: 2}, "u32": {kind: uintKind, size: 4},
	"u64": {kind: uintKind, size: 8}, "u128": {kind: uintKind, size: 16}, "usize": {kind: uintKind, size: 8},
	"i8": {kind: intKind, size: 1}, "i16": {kind: intKind, size: 2}, "i32": {kind: intKind, size: 4},
	"i64": {kind: intKind, size: 8}, "i128": {kind: intKind, size: 16}, "isize": {kind: intKind, size: 8},
	"f32": {kind: floatKind, size: 4}, "f64": {kind: floatKind, size: 8},
	"PublicKey": {kind: keyKind}, "ContextId": {kind: keyKind}, "BlobId": {kind: keyKind}, "Hash": {kind: keyKind},
	"ReplicatedGrowableArray": {kind: textKind}, "MainStorage": {kind: unitKind},
	// Flags of Counter.
	"true": {kind: unitKind}, "false": {kind: unitKind},
}

// generic types: their kind and how many arguments count; a last one, of the storage, does not.
var genericTypes = map[string]struct {
	kind kind
	args int
}{
	"Vec": {listKind, 1}, "VecDeque": {listKind, 1}, "BTreeSet": {listKind, 1}, "HashSet": {listKind, 1},
	"Option": {optionKind, 1}, "BTreeMap": {dictKind, 2}, "HashMap": {dictKind, 2},
	"Box": {boxKind, 1}, "FrozenValue": {boxKind, 1}, "LwwRegister": {registerKind, 1},
	"UnorderedMap": {mapKind, 2}, "UnorderedSet": {setKind, 1}, "Vector": {vectorKind, 1},
	"UserStorage": {userKind, 1}, "FrozenStorage": {frozenKind, 1},
}

func named(name string, args []*typ) *typ {
	if t, ok := plainTypes[name]; ok {
		t.name = name
		return &t
	}
	switch name {
	case "Counter", "GCounter", "PNCounter":
		t := &typ{kind: counterKind, name: name}
		if name == "PNCounter" || len(args) > 0 && args[0].name == "true" {
			t.kind, t.name = upDownKind, "PNCounter"
		}
		return t
	}
	g, ok := genericTypes[name]
	if !ok || len(args) < g.args {
		return &typ{name: name}
	}
	t := &typ{kind: g.kind, of: args[:g.args]}
	if t.name = name + "<" + names(t.of) + ">"; g.kind == listKind && t.of[0].kind == uintKind && t.of[0].size == 1 {
		t.kind, t.of = bytesKind, nil
	}
	return t
}

func names(types []*typ) string {
	parts := make([]string, len(types))
	for i, t := range types {
		parts[i] = t.name
	}
	return strings.Join(parts, ", ")
}
