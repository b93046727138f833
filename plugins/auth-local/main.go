// The auth plugin with user names and passwords, and tokens signed with a secret of the node's own. A node runs it.
package main

import (
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugins/auth-local/local"
)

var version = "dev"

func main() {
	serve.Auth(func() auth.Plugin { return local.NewWith(local.WithVersion(version)) })
}
