package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/api/authroutes"
)

// Each route is in the guard's table, and the two agree on whether it needs a token.
func TestRoutesAreInTheGuardsTable(t *testing.T) {
	t.Parallel()
	guard, err := authroutes.New(authroutes.Options{})
	require.NoError(t, err)
	for _, r := range api.Routes() {
		var path []string
		for _, segment := range strings.Split(r.Pattern, "/") {
			if strings.HasPrefix(segment, "{") {
				segment = "x"
			}
			path = append(path, segment)
		}
		got, ok := guard.Guarded(r.Method, strings.Join(path, "/"))
		require.True(t, ok, "%s %s is not in the table", r.Method, r.Pattern)
		require.Equal(t, r.Guarded, got.Access != authroutes.Public, "%s %s", r.Method, r.Pattern)
	}
}
