package schema

import (
	"fmt"
	"strings"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// CreateContextAliasRequest names a context.
type CreateContextAliasRequest struct {
	Alias     domain.Alias     `json:"alias"`
	ContextID domain.ContextID `json:"contextId"`
}

// Read implements Request.
func (r *CreateContextAliasRequest) Read(o *jsonvalue.Object) {
	readAlias(o, &r.Alias)
	o.Into("contextId", &r.ContextID)
}

// Validate implements Request.
func (r *CreateContextAliasRequest) Validate() []string { return nil }

// CreateApplicationAliasRequest names an application.
type CreateApplicationAliasRequest struct {
	Alias         domain.Alias         `json:"alias"`
	ApplicationID domain.ApplicationID `json:"applicationId"`
}

// Read implements Request.
func (r *CreateApplicationAliasRequest) Read(o *jsonvalue.Object) {
	readAlias(o, &r.Alias)
	o.Into("applicationId", &r.ApplicationID)
}

// Validate implements Request.
func (r *CreateApplicationAliasRequest) Validate() []string { return nil }

// CreateIdentityAliasRequest names an identity of the context in the path.
type CreateIdentityAliasRequest struct {
	Alias    domain.Alias     `json:"alias"`
	Identity domain.PublicKey `json:"identity"`
}

// Read implements Request.
func (r *CreateIdentityAliasRequest) Read(o *jsonvalue.Object) {
	readAlias(o, &r.Alias)
	o.Into("identity", &r.Identity)
}

// Validate implements Request.
func (r *CreateIdentityAliasRequest) Validate() []string { return nil }

func readAlias(o *jsonvalue.Object, to *domain.Alias) {
	if v, ok := o.Required("alias"); ok {
		parseAlias(v, to)
	}
}

func parseAlias(v jsonvalue.Value, to *domain.Alias) {
	v.Parse(func(text string) (err error) {
		*to, err = domain.ParseAlias(text)
		return err
	})
}

// oneOf is the error of a text that is none of a set.
func oneOf(text string, want ...string) error {
	for _, w := range want {
		if text == w {
			return nil
		}
	}
	list := "`" + strings.Join(want, "`, `") + "`"
	switch len(want) {
	case 1:
	case 2:
		list = "`" + want[0] + "` or `" + want[1] + "`"
	default:
		list = "one of " + list
	}
	return fmt.Errorf("unknown variant `%s`, expected %s", text, list)
}

// AliasTarget is the answer of a look-up; nil is no such alias.
type AliasTarget struct {
	Value *string `json:"value"` // base58
}
