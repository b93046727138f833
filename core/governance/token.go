package governance

import "github.com/calimero-go/core/plugin-sdk/domain"

// tokenKind is a kind of authority.
type tokenKind uint8

const (
	tokenAdmin     tokenKind = iota // a direct row with role Admin
	tokenInherited                  // admin of the nearest ancestor group that knows the identity
	tokenCap                        // a capability bit, and a row
	tokenCreator                    // stored creator of a context, and a row
	tokenRegistrar                  // registered a context that has no creator yet, and a row
	tokenSelf                       // a row
	tokenOpen                       // an invitation that is not closed
)

// token is one piece of authority. Who holds it; an open invitation is held by nobody.
type token struct {
	kind tokenKind
	who  domain.PublicKey
	bit  domain.GroupCapabilities
	id   domain.Hash // of the context or invitation
}

// clause is satisfied by each of its tokens. What an operation uses is a conjunction of clauses of tokens that were held.
type clause []token

// takes is what an operation takes away: everything of one identity, or some tokens.
type takes struct {
	everything bool
	who        domain.PublicKey // with everything
	tokens     []token
}

func (t *takes) any() bool { return t.everything || len(t.tokens) > 0 }

func (t *takes) token(tok token) bool {
	if t.everything && tok.kind != tokenOpen && tok.who == t.who {
		return true
	}
	for _, mine := range t.tokens {
		if mine == tok {
			return true
		}
	}
	return false
}

// target is the identity whose admin role is taken.
func (t *takes) target() (domain.PublicKey, bool) {
	if t.everything {
		return t.who, true
	}
	for _, tok := range t.tokens {
		if tok.kind == tokenAdmin {
			return tok.who, true
		}
	}
	return domain.PublicKey{}, false
}

// since is when a role began: the place of the operation that gave it. Zero is the genesis.
type since struct {
	depth int
	id    domain.Hash
}

func (s since) compare(o since) int {
	if s.depth != o.depth {
		return s.depth - o.depth
	}
	return s.id.Compare(o.id)
}

// rank orders operations by their authors' standing; less is more senior.
type rank struct {
	class int // 0 direct admin, 1 inherited admin, 2 other
	since since
	id    domain.Hash
}

func (r rank) compare(o rank) int {
	if r.class != o.class {
		return r.class - o.class
	}
	if c := r.since.compare(o.since); c != 0 {
		return c
	}
	return r.id.Compare(o.id)
}
