package local

import (
	"math"
	"math/big"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
)

// settings is the decoded config block.
type settings struct {
	issuer           string
	access, refresh  time.Duration
	minPassword      int
	maxPassword      int
	cost             cost
	hashing, waiting int
	failures         int
	bootstrapCode    string
}

// number is an integer attribute with its bounds.
type number struct {
	name          string
	def, min, max int64
	doc           string
	set           func(*settings, int64)
}

var numbers = []number{
	{"access_token_expiry", 3600, 1, 86400, "Life of an access token in seconds, 1 to 86400.",
		func(s *settings, n int64) { s.access = time.Duration(n) * time.Second }},
	{"refresh_token_expiry", 2592000, 2, 31536000, "Life of a refresh token in seconds, 2 to 31536000; above that of access tokens.",
		func(s *settings, n int64) { s.refresh = time.Duration(n) * time.Second }},
	{"min_password_length", 8, 1, 128, "Fewest bytes of a new password, 1 to 128.",
		func(s *settings, n int64) { s.minPassword = int(n) }},
	{"max_password_length", 128, 16, 1024, "Most bytes of a password, 16 to 1024.",
		func(s *settings, n int64) { s.maxPassword = int(n) }},
	{"argon2_memory_kib", 32 << 10, minMemory, maxMemory, "Memory of one password check in KiB, 19456 to 1048576.",
		func(s *settings, n int64) { s.cost.memory = uint32(n) }},
	{"argon2_iterations", 3, minTime, maxTime, "Passes of one password check over its memory, 2 to 64.",
		func(s *settings, n int64) { s.cost.time = uint32(n) }},
	{"argon2_parallelism", 1, 1, maxThreads, "Threads of one password check, 1 to 16.",
		func(s *settings, n int64) { s.cost.threads = uint8(n) }},
	{"max_password_checks", 2, 1, 64, "Password checks at once, 1 to 64; each takes argon2_memory_kib.",
		func(s *settings, n int64) { s.hashing = int(n) }},
	{"max_waiting_checks", 64, 0, 1024, "Password checks that may wait for their turn, 0 to 1024; more are refused.",
		func(s *settings, n int64) { s.waiting = int(n) }},
	{"max_failures", 5, 1, 1000, "Wrong passwords for one user name before further attempts have to wait, 1 to 1000.",
		func(s *settings, n int64) { s.failures = int(n) }},
}

const (
	attrIssuer    = "issuer"
	attrBootstrap = "bootstrap_code"
	minBootstrap  = 16
)

func schema() base.Schema {
	s := base.Schema{Attributes: []base.Attribute{
		{Name: attrIssuer, Type: cty.String, Default: cty.StringVal("calimero-auth"),
			Doc: "Issuer and audience of tokens; tokens of another issuer are refused."},
		{Name: attrBootstrap, Type: cty.String, Sensitive: true,
			Doc: "One-time code, at least 16 bytes, that lets a request from another machine create the first account; " +
				"without it, the file bootstrap-code in the plugin's data folder has it."},
	}}
	for _, n := range numbers {
		s.Attributes = append(s.Attributes,
			base.Attribute{Name: n.name, Type: cty.Number, Default: cty.NumberIntVal(n.def), Doc: n.doc})
	}
	return s
}

// read decodes the block; everything wrong is a diagnostic.
func read(v cty.Value, d *diag.Diagnostics) settings {
	var s settings
	s.issuer = text(v.GetAttr(attrIssuer))
	if s.issuer == "" || len(s.issuer) > 128 {
		d.Errorf([]diag.Step{attrIssuer}, "Wrong issuer", "It has %d bytes; give it 1 to 128.", len(s.issuer))
	}
	s.bootstrapCode = text(v.GetAttr(attrBootstrap))
	if n := len(s.bootstrapCode); n > 0 && n < minBootstrap {
		d.Errorf([]diag.Step{attrBootstrap}, "Bootstrap code too short",
			"It has %d bytes; give it at least %d, or leave it out.", n, minBootstrap)
	}
	for _, n := range numbers {
		value := n.def
		if x := v.GetAttr(n.name); !x.IsNull() {
			value = integer(x.AsBigFloat())
		}
		if value < n.min || value > n.max {
			d.Errorf([]diag.Step{n.name}, "Number out of bounds", "%s must be a whole number from %d to %d. %s", n.name, n.min,
				n.max, n.doc)
			continue
		}
		n.set(&s, value)
	}
	if d.HasErrors() {
		return s
	}
	if s.access >= s.refresh {
		d.Errorf([]diag.Step{"refresh_token_expiry"}, "Refresh tokens end too soon",
			"refresh_token_expiry (%v) must be greater than access_token_expiry (%v).", s.refresh, s.access)
	}
	if s.minPassword > s.maxPassword {
		d.Errorf([]diag.Step{"min_password_length"}, "No password would do",
			"min_password_length (%d) is greater than max_password_length (%d).", s.minPassword, s.maxPassword)
	}
	return s
}

func text(v cty.Value) string {
	if v.IsNull() {
		return ""
	}
	return v.AsString()
}

// integer answers a number out of all bounds for one that is not whole.
func integer(f *big.Float) int64 {
	n, accuracy := f.Int64()
	if accuracy != big.Exact {
		return math.MinInt64
	}
	return n
}
