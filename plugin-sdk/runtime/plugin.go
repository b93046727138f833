package runtime

import "github.com/calimero-go/core/plugin-sdk/base"

// Wire is how runtime plugins travel over gRPC.
var Wire = base.Wire[Plugin]{
	Kind:     Kind,
	Versions: map[int]base.Version[Plugin]{Protocol: {Register: Register, Client: NewClient}},
}
