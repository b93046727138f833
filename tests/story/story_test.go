// Package story_test tells the story of a group: two fresh nodes, driven by meroctl alone.
package story_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// teller drives two nodes, ann's and bob's.
type teller struct {
	t       *testing.T
	cluster *harness.Cluster
	meroctl string
	home    string
}

const ann, bob = 0, 1

// spaces are those between the columns of a table, of which there are more or fewer.
var spaces = regexp.MustCompile(` +`)

// patience bounds a wait for what another node has to hear of first.
const patience = 2 * time.Minute

func newTeller(t *testing.T) *teller {
	return &teller{
		t: t, cluster: harness.StartCluster(t, 2, harness.Options{Identity: true}),
		meroctl: filepath.Join(harness.Bin(t), "meroctl"), home: t.TempDir(),
	}
}

// try runs meroctl at a node.
func (s *teller) try(ctx context.Context, at int, args ...string) (out string, err error) {
	cmd := exec.CommandContext(ctx, s.meroctl, append([]string{"--api", s.cluster.Nodes[at].URL()}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.home, "XDG_CONFIG_HOME="+s.home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("meroctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return spaces.ReplaceAllString(strings.TrimSpace(stdout.String()), " "), nil
}

// do runs meroctl, which must succeed.
func (s *teller) do(at int, args ...string) string {
	s.t.Helper()
	out, err := s.try(s.t.Context(), at, args...)
	require.NoError(s.t, err)
	return out
}

// last is the first cell of the last line of a table.
func (s *teller) last(at int, args ...string) string {
	s.t.Helper()
	out := s.do(at, args...)
	return strings.Fields(out[strings.LastIndexByte(out, '\n')+1:])[0]
}

// refused runs meroctl, which the node must refuse for this reason.
func (s *teller) refused(reason string, at int, args ...string) {
	s.t.Helper()
	_, err := s.try(s.t.Context(), at, args...)
	require.ErrorContains(s.t, err, reason)
	var exit *exec.ExitError
	require.ErrorAs(s.t, err, &exit)
	require.Equal(s.t, 101, exit.ExitCode(), "the node refuses, not the command line")
}

// until runs meroctl until its output contains a text.
func (s *teller) until(text string, at int, args ...string) {
	s.t.Helper()
	s.wait(func(ctx context.Context) error {
		out, err := s.try(ctx, at, args...)
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("meroctl %s: %s", strings.Join(args, " "), out)
		}
		return err
	}, fmt.Sprintf("%q in the answer of %v", text, args))
}

// untilRefused runs meroctl until it is refused for a reason.
func (s *teller) untilRefused(reason string, at int, args ...string) {
	s.t.Helper()
	s.wait(func(ctx context.Context) error {
		out, err := s.try(ctx, at, args...)
		if err == nil {
			return errors.New("it succeeds: " + out)
		}
		if !strings.Contains(err.Error(), reason) {
			return err
		}
		return nil
	}, fmt.Sprintf("%v is refused: %s", args, reason))
}

func (s *teller) wait(ok func(context.Context) error, what string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	require.NoError(s.t, harness.Until(ctx, what, ok))
}

func (s *teller) call(at int, ctx, method, args string) string {
	s.t.Helper()
	return s.do(at, "call", method, "-c", ctx, "--args", args)
}

func (s *teller) install(at int, app string) string {
	s.t.Helper()
	path, err := s.cluster.Nodes[at].AppFile(app)
	require.NoError(s.t, err)
	return s.last(at, "app", "install", "--path", path)
}

// TestGroup: a group is made, joined, governed, upgraded and deleted. Each step is a command, and what it must print.
func TestGroup(t *testing.T) {
	t.Parallel()
	s := newTeller(t)

	t.Log("ann makes a group with a subgroup and an open context")
	app := s.install(ann, "kv")
	group := s.last(ann, "group", "create", "--application-id", app, "--alias", "team", "--upgrade-policy", "automatic")
	child := s.last(ann, "group", "create", "--application-id", app, "--parent-group-id", group)
	require.Contains(t, s.do(ann, "group", "get", group), "subgroup "+child)
	room := s.last(ann, "context", "create", "-a", app, "--group-id", group, "--alias", "room")
	s.call(ann, room, "set", `{"key":"from","value":"ann"}`)
	require.Contains(t, s.do(ann, "group", "contexts", "list", group), room+" room")
	s.refused("still has 1 associated context(s)", ann, "group", "delete", group)

	t.Log("bob, on a fresh node, joins by an invitation that only he can use")
	invitation := s.do(ann, "group", "invite", group, "--one-use", "--expiration-timestamp", "3600")
	s.do(bob, "group", "join", invitation)
	s.until("team", bob, "group", "get", group)
	var members struct{ SelfIdentity string }
	require.NoError(t, json.Unmarshal([]byte(s.do(bob, "--output-format", "json", "group", "members", "list", group)), &members))
	bobKey := members.SelfIdentity
	s.until(bobKey+" Member", ann, "group", "members", "list", group)
	s.until("parent "+group, bob, "group", "get", child) // he is in the groups below, and hears of them
	s.refused("already a member", bob, "group", "join", invitation)
	s.refused("requester is not an admin", bob, "group", "set-alias", group, "bob's")

	t.Log("he may join open contexts only when he is given that right")
	require.Equal(t, "no: the context is open, and the member may not join open contexts", s.do(ann, "group", "members", "check-access", group, room, bobKey))
	s.refused("CAN_JOIN_OPEN_CONTEXTS is not set", bob, "group", "join-group-context", group, "--context-id", room)
	s.do(ann, "group", "members", "set-capabilities", group, bobKey, "--can-join-open-contexts")
	s.until("join-open-contexts", bob, "group", "members", "get-capabilities", group, bobKey)
	require.Contains(t, s.do(bob, "group", "join-group-context", group, "--context-id", room), bobKey)
	s.until(`"ann"`, bob, "call", "get", "-c", room, "--args", `{"key":"from"}`)
	s.call(bob, room, "set", `{"key":"from","value":"bob"}`)
	s.until(`"bob"`, ann, "call", "get", "-c", room, "--args", `{"key":"from"}`)

	t.Log("a restricted context is for those on its list")
	vault := s.last(ann, "context", "create", "-a", app, "--group-id", group, "--alias", "vault")
	s.call(ann, vault, "set", `{"key":"secret","value":"42"}`)
	s.do(ann, "group", "contexts", "set-visibility", group, vault, "--mode", "restricted")
	s.until("restricted", bob, "group", "contexts", "get-visibility", group, vault)
	s.refused("identity is not on the allowlist", bob, "group", "join-group-context", group, "--context-id", vault)
	s.do(ann, "group", "contexts", "allowlist", "add", group, vault, bobKey)
	s.until(bobKey, bob, "group", "contexts", "allowlist", "list", group, vault)
	s.do(bob, "group", "join-group-context", group, "--context-id", vault)
	s.until(`"42"`, bob, "call", "get", "-c", vault, "--args", `{"key":"secret"}`)

	t.Log("bob's node is killed and comes back; meanwhile he became a reader")
	require.NoError(t, s.cluster.Nodes[bob].Kill())
	s.do(ann, "group", "members", "set-role", group, bobKey, "read-only")
	s.call(ann, room, "set", `{"key":"from","value":"ann again"}`)
	s.cluster.Start(t, bob)
	s.until(bobKey+" ReadOnly", bob, "group", "members", "list", group)
	s.until(`"ann again"`, bob, "call", "get", "-c", room, "--args", `{"key":"from"}`)
	s.call(bob, room, "set", `{"key":"from","value":"bob again"}`)
	require.Contains(t, s.call(bob, room, "get", `{"key":"from"}`), `"ann again"`, "what a reader writes is dropped")
	s.do(ann, "group", "members", "set-role", group, bobKey, "member")
	s.until(bobKey+" Member", bob, "group", "members", "list", group)
	s.call(bob, room, "set", `{"key":"from","value":"bob again"}`)
	s.until(`"bob again"`, ann, "call", "get", "-c", room, "--args", `{"key":"from"}`)

	s.upgrade(group, room)

	t.Log("bob is removed: the contexts of the group are closed to him, and an old invitation does not help")
	s.do(ann, "group", "members", "remove", group, bobKey)
	s.untilRefused("Unauthorized", bob, "call", "get", "-c", room, "--args", `{"key":"from"}`, "--as", bobKey)
	s.refused("node is not a member of group", bob, "group", "get", group)
	s.refused("", bob, "group", "join", invitation)
	log := s.do(bob, "group", "log", group)
	require.Contains(t, log, "remove "+bobKey, "he sees why")

	t.Log("the group is taken down")
	for _, id := range []string{room, vault} {
		require.Contains(t, s.do(ann, "context", "delete", id), "yes")
	}
	s.do(ann, "group", "remove-subgroup", group, child)
	s.do(ann, "group", "delete", child)
	s.do(ann, "group", "delete", group)
	s.refused("not found", ann, "group", "get", group)
	require.NotContains(t, s.do(ann, "group", "list"), group)
	log = s.do(ann, "group", "log", group)
	require.Contains(t, log, "delete the group")
	for _, line := range strings.Split(log, "\n")[1:] {
		require.Contains(t, line, "APPLIED", "nothing of this story was refused or is void")
	}
}

// upgrade gives the group the next release, whose state has another form: bob's node follows by itself.
func (s *teller) upgrade(group, room string) {
	s.t.Helper()
	s.t.Log("the group gets the next release, which migrates the state")
	next := s.install(ann, "kvnext")
	s.refused("Migration execution failed", ann, "group", "upgrade", "trigger", group, "--target-application-id", next, "--migrate-method", "migrate_badly")
	require.NotContains(s.t, s.do(ann, "group", "get", group), next, "a canary that fails leaves the group as it was")
	s.do(ann, "group", "upgrade", "trigger", group, "--target-application-id", next, "--migrate-method", "migrate")
	s.until("completed", ann, "group", "upgrade", "status", group)
	for _, at := range []int{ann, bob} {
		s.until(`"migrated"`, at, "call", "label", "-c", room)
		require.Contains(s.t, s.call(at, room, "get", `{"key":"from"}`), `"bob again"`)
	}
	s.call(bob, room, "set_label", `{"label":"ours"}`)
	s.until(`"ours"`, ann, "call", "label", "-c", room)
}
