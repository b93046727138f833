package diag_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

func path(steps ...diag.Step) []diag.Step { return steps }

func TestProto_KeepsEverything(t *testing.T) {
	t.Parallel()
	var ds diag.Diagnostics
	ds.Errorf(path("listen", int64(0), "port"), "Bad port", "port %d is in use", 80)
	ds.Warnf(path("labels", diag.Key("a b")), "Odd label", "")
	ds.Errorf(nil, "Broken", "all of it")
	data, err := proto.Marshal(&basev1.ConfigureResponse{Diagnostics: diag.ToProto(ds)})
	require.NoError(t, err)
	var r basev1.ConfigureResponse
	require.NoError(t, proto.Unmarshal(data, &r))
	got, err := diag.FromProto(r.GetDiagnostics())
	require.NoError(t, err)
	require.Equal(t, ds, got)
	require.Equal(t, "listen[0].port: Bad port: port 80 is in use", got[0].String())
	require.Equal(t, `labels["a b"]: Odd label`, got[1].String())
}

func TestProto_StepsAndSeveritiesUnknown(t *testing.T) {
	t.Parallel()
	sent := diag.Diagnostics{{Severity: 7, Summary: "s", Path: path("a", 3, 2.5, "b")}}
	got, err := diag.FromProto(diag.ToProto(sent))
	require.NoError(t, err)
	require.Equal(t, diag.Diagnostics{{Severity: diag.Error, Summary: "s", Path: path("a", int64(3))}}, got)
	got, err = diag.FromProto([]*basev1.Diagnostic{{}})
	require.NoError(t, err)
	require.True(t, got.HasErrors())
}

func TestProto_Bounds(t *testing.T) {
	t.Parallel()
	text := func(n int) *basev1.Diagnostic { return &basev1.Diagnostic{Detail: strings.Repeat("x", n)} }
	long := func(n int) *basev1.Diagnostic { return &basev1.Diagnostic{Path: make([]*basev1.Step, n)} }
	for _, test := range []struct {
		in   []*basev1.Diagnostic
		fine bool
	}{
		{make([]*basev1.Diagnostic, diag.MaxDiagnostics), true}, {make([]*basev1.Diagnostic, diag.MaxDiagnostics+1), false},
		{[]*basev1.Diagnostic{text(diag.MaxText)}, true}, {[]*basev1.Diagnostic{text(diag.MaxText + 1)}, false},
		{[]*basev1.Diagnostic{long(diag.MaxPath)}, true}, {[]*basev1.Diagnostic{long(diag.MaxPath + 1)}, false},
	} {
		_, err := diag.FromProto(test.in)
		if test.fine {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, errkind.TooLarge)
		}
	}
	var ds diag.Diagnostics
	for range diag.MaxDiagnostics + 5 {
		ds.Errorf(make([]diag.Step, diag.MaxPath+3), strings.Repeat("é", diag.MaxText), "x%s", strings.Repeat("é", diag.MaxText))
	}
	sent := diag.ToProto(ds)
	got, err := diag.FromProto(sent)
	require.NoError(t, err, "what is sent is within the bounds")
	require.Len(t, got, diag.MaxDiagnostics)
	require.True(t, utf8.ValidString(got[0].Summary) && utf8.ValidString(got[0].Detail))
	require.Len(t, got[0].Detail, diag.MaxText-1, "cut between characters")
}

func TestErr(t *testing.T) {
	t.Parallel()
	var ds diag.Diagnostics
	require.NoError(t, ds.Err())
	ds.Warnf(nil, "careful", "")
	require.NoError(t, ds.Err())
	ds.Errorf(path("a"), "one", "")
	ds.Errorf(path("b"), "two", "why")
	require.ErrorIs(t, ds.Err(), errkind.Invalid)
	require.EqualError(t, ds.Err(), "a: one\nb: two: why")
}
