package schema

import (
	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// SetMemberCapabilitiesRequest replaces a member's capabilities.
type SetMemberCapabilitiesRequest struct {
	Capabilities uint32 `json:"capabilities"`
	Requester
}

// Read implements Request.
func (r *SetMemberCapabilitiesRequest) Read(o *jsonvalue.Object) {
	r.Capabilities = readBits(o, "capabilities")
	r.read(o)
}

func readBits(o *jsonvalue.Object, name string) uint32 {
	v, ok := o.Required(name)
	if !ok {
		return 0
	}
	return uint32(v.Unsigned(32)) //nolint:gosec // checked
}

// Validate implements Request.
func (r *SetMemberCapabilitiesRequest) Validate() []string { return nil }

// SetDefaultCapabilitiesRequest sets what new members are given.
type SetDefaultCapabilitiesRequest struct {
	DefaultCapabilities uint32 `json:"defaultCapabilities"`
	Requester
}

// Read implements Request.
func (r *SetDefaultCapabilitiesRequest) Read(o *jsonvalue.Object) {
	r.DefaultCapabilities = readBits(o, "defaultCapabilities")
	r.read(o)
}

// Validate implements Request.
func (r *SetDefaultCapabilitiesRequest) Validate() []string { return nil }

// Visibility is open or restricted.
type Visibility string

// VisibilityOf is the text of a mode that is one of the two.
func VisibilityOf(m domain.VisibilityMode) Visibility {
	if m == domain.VisibilityRestricted {
		return "restricted"
	}
	return "open"
}

// Mode of a text that was validated.
func (v Visibility) Mode() domain.VisibilityMode {
	if v == "restricted" {
		return domain.VisibilityRestricted
	}
	return domain.VisibilityOpen
}

func (f *faults) visibility(field string, v Visibility) {
	if v != "open" && v != "restricted" {
		f.add("Field '%s' has invalid format: must be 'open' or 'restricted'", field)
	}
}

// SetDefaultVisibilityRequest sets the visibility of new contexts.
type SetDefaultVisibilityRequest struct {
	DefaultVisibility Visibility `json:"defaultVisibility"`
	Requester
}

// Read implements Request.
func (r *SetDefaultVisibilityRequest) Read(o *jsonvalue.Object) {
	r.DefaultVisibility = Visibility(o.Text("defaultVisibility"))
	r.read(o)
}

// Validate implements Request.
func (r *SetDefaultVisibilityRequest) Validate() []string {
	var f faults
	f.visibility("default_visibility", r.DefaultVisibility)
	return f
}

// SetContextVisibilityRequest sets who may join a context.
type SetContextVisibilityRequest struct {
	Mode Visibility `json:"mode"`
	Requester
}

// Read implements Request.
func (r *SetContextVisibilityRequest) Read(o *jsonvalue.Object) {
	r.Mode = Visibility(o.Text("mode"))
	r.read(o)
}

// Validate implements Request.
func (r *SetContextVisibilityRequest) Validate() []string {
	var f faults
	f.visibility("mode", r.Mode)
	return f
}

// ManageAllowlistRequest changes who may join a restricted context.
type ManageAllowlistRequest struct {
	Add    []domain.PublicKey `json:"add"`
	Remove []domain.PublicKey `json:"remove"`
	Requester
}

// Read implements Request.
func (r *ManageAllowlistRequest) Read(o *jsonvalue.Object) {
	r.Add, r.Remove = []domain.PublicKey{}, []domain.PublicKey{}
	if v, ok := o.Default("add"); ok {
		r.Add = readKeys(v)
	}
	if v, ok := o.Default("remove"); ok {
		r.Remove = readKeys(v)
	}
	r.read(o)
}

// Validate implements Request.
func (r *ManageAllowlistRequest) Validate() []string {
	var f faults
	if len(r.Add)+len(r.Remove) == 0 {
		f.empty("add/remove")
	}
	f.items("add", len(r.Add), MaxMembers)
	f.items("remove", len(r.Remove), MaxMembers)
	return f
}

// SetTeePolicyRequest sets which attested nodes may be admitted. An empty list takes anything.
type SetTeePolicyRequest struct {
	AllowedMRTD        []string `json:"allowedMrtd"`
	AllowedRTMR0       []string `json:"allowedRtmr0"`
	AllowedRTMR1       []string `json:"allowedRtmr1"`
	AllowedRTMR2       []string `json:"allowedRtmr2"`
	AllowedRTMR3       []string `json:"allowedRtmr3"`
	AllowedTCBStatuses []string `json:"allowedTcbStatuses"`
	AcceptMock         bool     `json:"acceptMock"`
	Requester
}

type namedList struct {
	name string
	list *[]string
}

func (r *SetTeePolicyRequest) lists() []namedList {
	return []namedList{
		{"allowedMrtd", &r.AllowedMRTD}, {"allowedRtmr0", &r.AllowedRTMR0}, {"allowedRtmr1", &r.AllowedRTMR1},
		{"allowedRtmr2", &r.AllowedRTMR2}, {"allowedRtmr3", &r.AllowedRTMR3}, {"allowedTcbStatuses", &r.AllowedTCBStatuses},
	}
}

// Read implements Request.
func (r *SetTeePolicyRequest) Read(o *jsonvalue.Object) {
	for _, x := range r.lists() {
		*x.list = []string{}
		if v, ok := o.Default(x.name); ok {
			v.Each(func(item jsonvalue.Value) { *x.list = append(*x.list, item.Text()) })
		}
	}
	if v, ok := o.Default("acceptMock"); ok {
		r.AcceptMock = v.Bool()
	}
	r.read(o)
}

// Validate implements Request.
func (r *SetTeePolicyRequest) Validate() []string {
	var f faults
	for _, x := range r.lists() {
		f.items(x.name, len(*x.list), MaxTeeValues)
		for _, value := range *x.list {
			f.text(x.name, value, MaxTeeValue)
		}
	}
	return f
}
